"""One model over many workers that talk only through what a serverless platform has.

Importing it brings in neither numba nor scipy nor mtkahypar: what needs them imports them when it is called.
"""
