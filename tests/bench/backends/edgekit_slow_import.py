"""A module that takes 200 ms to import."""

import time

time.sleep(0.2)
