"""One machine: the agent, its zygotes and workers. A user's code runs only in processes made here.

    server process --- agent --- environment zygote --+-- function zygote --- worker ...
                                                      +-- worker (forked straight from the environment)
                                                      +-- build, probe

Each arrow is a SOCK_SEQPACKET pair that carries small messages (messages.py) and file descriptors.
"""
