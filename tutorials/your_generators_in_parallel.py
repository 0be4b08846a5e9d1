# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Your generators, in parallel
#
# You have a loop. It walks over something, computes something for each item, drops some of it, and uses the
# rest. In Python that is a generator expression. This page runs yours on all cores, and shows what changes
# and what does not. Every cell can be run: as a notebook, or the whole page as a script.

# %%
import itertools
import math
import operator
import time
from collections import Counter

import mrpy

# %% [markdown]
# ## One word
#
# Here is some honest work: is a number prime, by trial division?


# %%
def is_prime(n):
    return n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))


plain = [n for n in range(20_000) if is_prime(n)]

# %% [markdown]
# The same, in parallel. The generator expression stays as it is; `mrpy.parallel` goes around it.

# %%
primes = mrpy.parallel(n for n in range(20_000) if is_prime(n))
print(primes)

# %% [markdown]
# Nothing has run so far. What you see is a *plan*: the source, and what is done with each item. mrpy has taken
# the generator apart: its code, its variables and its source. `explain()` says how it would run, and why.

# %%
print(primes.explain())

# %% [markdown]
# Loop over it, and it runs. Results come in order, as they would from the generator.

# %%
found = list(primes)
assert found == plain
print(len(found), "primes, the last is", found[-1])

# %% [markdown]
# After the run `explain()` also says where the time went.

# %%
print(primes.explain())

# %% [markdown]
# ## Anything you can write
#
# Several `for`s, several `if`s, names from around it, methods, lambdas, a generator inside a generator: it is all
# the same to mrpy. What stands inside another one is *fused*: an item goes through all steps on the same worker, and
# nothing travels in between.

# %%
scale = 10
pairs = ((a, b) for a in range(60) for b in range(a) if math.gcd(a, b) == 1)
products = (a * b * scale for a, b in pairs)
print(sum(mrpy.parallel(products)))

# %% [markdown]
# The built-in iterators are programs too: `map`, `filter`, `zip`, `enumerate`, `itertools.chain`, `starmap`, `islice`.

# %%
shouted = enumerate(map(str.upper, filter(str.isalpha, "a1b2c3")))
print(list(mrpy.parallel(shouted)))

# %% [markdown]
# The variables of a function around it are captured when the parallel iterator is made, not when it runs. (A plain
# generator looks at them while it runs. Globals are looked at when the first item is asked for.)


# %%
def captured():
    factor = 2
    doubled = mrpy.parallel(n * factor for n in range(3))
    factor = 100
    return list(doubled), factor


print(captured())
assert captured() == ([0, 2, 4], 100)

# %% [markdown]
# ## Your pace
#
# The source is pulled while you ask for results, and never far ahead of what you have taken. So a source may be
# endless, and a slow consumer does not fill the memory.

# %%
squares = mrpy.parallel(n * n for n in itertools.count())
print(list(squares.take(5)))

# %% [markdown]
# `buffersize` says how many items may be pulled and not yet yielded, `buffer_bytes` how many bytes.

# %%
pulled = []


def numbers():
    for n in range(50):
        pulled.append(n)
        yield n


ahead = []
for yielded, _ in enumerate(mrpy.pmap(abs, numbers(), buffersize=8)):
    ahead.append(len(pulled) - yielded)
print("at most", max(ahead), "items ahead")
assert max(ahead) <= 8

# %% [markdown]
# ## Chains
#
# What every verb returns is an iterator that chains. Steps that look at one item are fused; what looks at several
# (`batch`, `window`, `zip`) takes them as they come; what comes to one answer (`sum`, `frequencies`, `topk`) runs on the
# workers and brings back only the answer.

# %%
text = "the cat and the hat and the bat".split() * 100
top = mrpy.stream(text).map(str.upper).frequencies().topk(2, key=1).to_list()
print(top)
assert top == Counter(word.upper() for word in text).most_common(2)

# %% [markdown]
# Sums of floats are the same to the last bit, wherever and in however many pieces they are computed.

# %%
tenths = [0.1 * n for n in range(10_000)]
sums = {
    mrpy.stream(tenths, backend=backend, chunksize=chunksize).sum()
    for backend in ("serial", "threads", "processes")
    for chunksize in (7, 1000, "auto")
}
print(sums)
assert len(sums) == 1

# %% [markdown]
# ## Generator functions
#
# A generator function is more than a loop body: it may remember something from one item to the next. mrpy cannot see
# whether it does, so you say it: `@mrpy.stage` marks one that may be run on pieces of its input.


# %%
@mrpy.stage
def collatz(numbers):
    for n in numbers:
        steps = 0
        while n != 1:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            steps += 1
        yield steps


print(collatz(range(1, 5000)).max())

# %% [markdown]
# And if you are wrong? `mrpy.check` runs it under many cuttings of a sample, and shows the smallest input for which
# the answer depends on the cut.


# %%
@mrpy.stage
def changes(items):
    last = None
    for item in items:
        if item != last:
            yield item
        last = item


try:
    mrpy.check(changes, [3, 1, 4, 1, 5, 5, 9])
except mrpy.errors.CheckFailed as error:
    print(error)

# %% [markdown]
# The same holds for operators: `preduce` may put the brackets elsewhere, so the operator has to be associative.

# %%
mrpy.check(operator.add, [1, 2, 3])
try:
    mrpy.check(operator.sub, [1, 2, 3])
except mrpy.errors.CheckFailed as error:
    print(error)

# %% [markdown]
# Something that is costly to set up, a database or a model, is made once per worker:


# %%
def load_model():
    time.sleep(0.01)  # as if
    return {"slope": 3}


@mrpy.stage(setup=load_model)
def predict(items, model):
    for item in items:
        yield item * model["slope"]


print(predict(range(5)).to_list())

# %% [markdown]
# ## When something goes wrong
#
# Your exception arrives as it was raised, at its own item's place, and says which item it was. What came before is
# delivered.

# %%
got = []
try:
    for value in mrpy.parallel(10 / n for n in [5, 2, 1, 0, 4]):
        got.append(value)
except ZeroDivisionError as error:
    print(got, error.mrpy_item)
assert got == [2.0, 5.0, 10.0]

# %% [markdown]
# `on_error="skip"` drops such items, `"return"` puts the exception in their place, a function replaces them.

# %%
print(list(mrpy.parallel((10 / n for n in [5, 0, 1]), on_error=lambda error: math.inf)))

# %% [markdown]
# ## What is different from a plain loop
#
# * The body runs in other processes. What it prints appears; what it assigns, appends or counts stays there. Return it.
# * Some items run ahead of the one you are looking at, in no particular order. Results are in order all the same.
# * When a worker dies, its items run again on another one. Let effects bear repetition.
# * The variables of the function around it are captured when the iterator is made.
#
# The README lists every such difference with its remedy. For everything else: if `list(mrpy.parallel(g))` is not
# `list(g)`, that is a bug of ours.
