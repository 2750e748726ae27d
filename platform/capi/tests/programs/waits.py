"""waits.py LIBRARY FILE TIMES: waits for a child with Popen.wait, and dumps it in another thread."""
import ctypes
import os
import subprocess
import sys
import threading

library = ctypes.CDLL(sys.argv[1])
dump = library.MiniDumpWriteDump
dump.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32] + [ctypes.c_void_p] * 3
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
results = []
waiter = threading.Thread(target=lambda: results.append(child.wait()))
waiter.start()
file = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
dumps = sum(dump(child.pid, child.pid, file, 0, None, None, None) for _ in range(int(sys.argv[3])))
early = len(results)
child.stdin.close()
waiter.join()
print(dumps, early, results)
