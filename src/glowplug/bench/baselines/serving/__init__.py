"""Servers that experiment `gateway` compares with: `python -m serving.NAME WORKLOAD PORT THREADS`.

None imports anything of Glowplug. Each serves one workload of `work` on 127.0.0.1:PORT with one process for
the work, in the way its authors recommend; the working directory is a scratch folder of its own.
"""
