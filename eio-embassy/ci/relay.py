"""A relay of Ethernet frames between two emulators, which drops, delays, reorders and doubles them.

A QEMU without a machine has the network; the guest has a `socket` card. Each sends its frames as UDP datagrams.
"""

import heapq
import random
import select
import socket
import threading
import time


class Relay:
    """Forwards datagrams between two ports of 127.0.0.1 until the program ends.

    Of the frames of each direction, `dropped` are lost and `doubled` arrive twice (shares from 0 to 1). Each is delayed by
    `delay_ms`, a range: one that is wider than the time between two frames reorders them. The seed decides about each frame
    by its number, so the faults are the same in each run; the frames are not, because time is real.
    """

    def __init__(self, seed, dropped=0.0, doubled=0.0, delay_ms=(0, 0)):
        self.dropped, self.doubled, self.delay_ms = dropped, doubled, delay_ms
        self.ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for end in self.ends:
            end.bind(("127.0.0.1", 0))
        self.ports = [end.getsockname()[1] for end in self.ends]
        # The ports of the emulators, in the same order.
        self.peers = [None, None]
        self.random = [random.Random(f"{seed}-{end}") for end in range(2)]
        self.frames = 0
        self.queue = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            wait = max(0, self.queue[0][0] - time.monotonic()) if self.queue else 1
            for end in select.select(self.ends, [], [], wait)[0]:
                self.receive(self.ends.index(end), end.recv(65536))
            while self.queue and self.queue[0][0] <= time.monotonic():
                _, _, to, frame = heapq.heappop(self.queue)
                if self.peers[to]:
                    self.ends[to].sendto(frame, ("127.0.0.1", self.peers[to]))

    def receive(self, end, frame):
        draw = self.random[end]
        drop, double = draw.random() < self.dropped, draw.random() < self.doubled
        delays = [draw.uniform(*self.delay_ms) / 1000 for _ in range(2)]
        for delay in [] if drop else delays[:1 + double]:
            self.frames += 1
            heapq.heappush(self.queue, (time.monotonic() + delay, self.frames, 1 - end, frame))
