"""Signals in, spectra out: the strongest frequency of each of many noisy recordings."""

import numpy as np

import mrpy

RATE = 1000  # samples per second


def recording(number):
    """One second of a tone in noise."""
    time = np.arange(RATE) / RATE
    noise = np.random.default_rng(number).normal(size=RATE)
    return np.sin(2 * np.pi * (50 + number) * time) + noise


def strongest(signal):
    """The frequency with the most power, in Hz."""
    return int(np.argmax(np.abs(np.fft.rfft(signal))))


found = mrpy.stream(range(300)).map(recording).map(strongest)
right = sum(frequency == 50 + number for number, frequency in enumerate(found))
print(f"{right} of 300 tones found")
