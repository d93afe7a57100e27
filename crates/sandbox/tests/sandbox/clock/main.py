# What a Python program sees of a clock that waits move.
import asyncio, os, queue, resource, select, signal, subprocess, threading, time

wall, begin = time.time(), time.monotonic()
print(wall, begin, time.process_time(), time.strftime('%F %T'))


def show(what):
    print(what, round(time.time() - wall, 6), round(time.monotonic() - begin, 6), flush=True)


time.sleep(0.05); show('sleep')
condition = threading.Condition()
with condition: print(condition.wait(0.2))
show('condition')
try: queue.Queue().get(timeout=0.11)
except queue.Empty: show('queue')


async def tasks():
    await asyncio.sleep(0.1)
    try: await asyncio.wait_for(asyncio.sleep(10), 0.2)
    except asyncio.TimeoutError: print('timeout')


asyncio.run(tasks())
print(time.monotonic() - begin > 0.65)
wall, begin = time.time(), time.monotonic()
subprocess.run(['sleep', '0.1']); show('child')
try: subprocess.run(['sleep', '10'], timeout=0.15)
except subprocess.TimeoutExpired: print('expired')
wall, begin = time.time(), time.monotonic()
select.select([], [], [], 0.07); show('select')
timer = threading.Timer(0.15, lambda: print('timer')); timer.start(); timer.join()
signal.signal(signal.SIGALRM, lambda *_: print('alarm'))
signal.setitimer(signal.ITIMER_REAL, 0.05)
wall = time.time(); time.sleep(0.1); print(round(time.time() - wall, 6))
until = time.time() + 0.5
while time.time() < until: time.sleep(0.1)
print(round(time.time() - until, 6))
until = time.time() + 3
while time.time() < until: pass
until = time.process_time() + 0.5
while time.process_time() < until: pass
print('spun', resource.getrusage(resource.RUSAGE_SELF).ru_utime, os.times().user)
