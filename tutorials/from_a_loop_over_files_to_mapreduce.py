# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # From a loop over files to MapReduce
#
# You have a folder of files and a loop over them that fills a dictionary. This page takes that loop to all
# cores, to files that are larger than the memory, and to results on disk, one step at a time. After each step
# the answer is the same as the loop's. Every cell can be run: as a notebook, or the whole page as a script.

# %%
import random
import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import mrpy

# %% [markdown]
# ## The loop
#
# Some log files first: who asked for which page, how long it took, and now and then a line that is broken.

# %%
folder = Path(tempfile.mkdtemp(prefix="logs-"))
rng = random.Random(7)
for day in range(1, 9):
    with open(folder / f"day{day}.log", "w") as file:
        for _ in range(4_000):
            user = f"user{int(rng.paretovariate(1.2)) % 300}"
            page = rng.choice(["/", "/search", "/about", "/buy"])
            file.write(f"{user} {page} {rng.expovariate(1 / 40):.1f}\n")
        file.write("#### disk replaced ####\n")

# %% [markdown]
# And the loop: how many requests there were for each page.

# %%
plain = Counter()
for path in sorted(folder.glob("*.log")):
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            plain[line.split()[1]] += 1
print(plain.most_common())

# %% [markdown]
# ## The lines, in parallel
#
# `mrpy.read_text` is the two inner loops: it takes a path, a pattern, a folder, or several of these, and gives
# the lines of all files, in order. The workers open the files themselves; a large file is cut at line ends, so
# that one file uses all of them. What comes out is the chainable iterator that you know from `mrpy.parallel`.

# %%
lines = mrpy.read_text(folder / "*.log")
requests = lines.filter(lambda line: not line.startswith("#")).map(str.split)
print(requests)

# %%
pages = requests.map(lambda request: request[1]).frequencies()
assert dict(pages) == plain

# %% [markdown]
# Nothing of the lines came to this process: each worker counted its own, and the counts were added.

# %% [markdown]
# ## Map, group by key, reduce
#
# The slowest request of each user. A plain loop collects what belongs together in a dictionary of lists:

# %%
times = defaultdict(list)
for path in sorted(folder.glob("*.log")):
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            user, page, took = line.split()
            times[user].append(float(took))
slowest = {user: max(took) for user, took in times.items()}

# %% [markdown]
# That is three steps: make (key, value) pairs from each line; bring the values of a key together; make one value
# of them. The middle one is the hard one where there are many workers, and it is always the same. You write the
# first and the last:


# %%
def by_user(line):
    """The mapper: it may yield one pair, several, or none."""
    if not line.startswith("#"):
        user, page, took = line.split()
        yield user, float(took)


def largest(user, values):
    """The reducer: `values` is an iterator."""
    return max(values)


found = mrpy.mapreduce(by_user, largest, mrpy.read_text(folder / "*.log"))
assert dict(found) == slowest

# %% [markdown]
# ## Less to carry: a combiner
#
# To know the largest of all values it is enough to know the largest of each chunk. A function that may be applied
# to a part of the values, and then to what came of the parts, can do most of its work before anything travels.
# Here it is the reducer itself. It pays where a key comes many times in a chunk, and costs a little where it does not.

# %%
found = mrpy.mapreduce(by_user, largest, mrpy.read_text(folder / "*.log"), combiner=largest)
assert dict(found) == slowest

# %% [markdown]
# A mean is no such function: the mean of means is something else. `mrpy.check` tries that out on a sample, and shows
# the smallest case in which it matters.

# %%
try:
    mrpy.check(lambda a, b: (a + b) / 2, [1.0, 2.0, 4.0])
except mrpy.errors.CheckFailed as error:
    print(error)

# %% [markdown]
# ## Words for what everybody needs
#
# Many reducers are in the chain already, with the combiner that belongs to them. `key` is a function of the item,
# or an index into it.

# %%
every_line = [line for path in sorted(folder.glob("*.log")) for line in path.read_text().splitlines()]
requests = [line.split() for line in every_line if not line.startswith("#")]
users = mrpy.stream(requests).count_by(0)
assert dict(users) == Counter(request[0] for request in requests)

longest = mrpy.stream(requests).reduce_by(0, lambda a, b: max(a, b, key=lambda request: float(request[2])))
assert {user: float(request[2]) for user, request in longest} == slowest

# %% [markdown]
# `group_by` gives all items of a key as a list. It is the most that can be asked for, and costs accordingly: take
# it where you need them all.

# %%
visits = dict(mrpy.stream(requests).group_by(0))
assert len(visits["user1"]) == len(times["user1"])

# %% [markdown]
# And two inputs that have keys in common are joined:

# %%
countries = [("user1", "Norway"), ("user2", "Chile")]
joined = mrpy.stream(countries).join(requests, 0, 0)
somewhere = Counter(country for (_, country), _ in joined)
assert somewhere == {"Norway": len(times["user1"]), "Chile": len(times["user2"])}

# %% [markdown]
# ## More than fits into memory
#
# What is brought together may be larger than the memory. Then it goes to disk and comes back key by key, without
# being asked: by default when a quarter of the free memory is taken, or more than you allow with `memory=`. The
# answer is the same, in the same order, to the last bit. `explain()` says how much it was.

# %%
found = mrpy.mapreduce(by_user, lambda user, took: sorted(took), mrpy.read_text(folder), memory=200_000)
assert dict(found) == {user: sorted(took) for user, took in times.items()}
print(found.explain())

# %% [markdown]
# Sorting does the same.

# %%
in_order = mrpy.read_text(folder, memory=200_000).sorted().to_list()
assert in_order == sorted(every_line)

# %% [markdown]
# ## Lines that are broken
#
# `day1.log` ends with a line that is no request. Without the test for `#` the mapper raises at it, and so does
# the loop over the results, with your own exception and the place of the line. `on_error="skip"` leaves such
# lines out:


# %%
def careless(line):
    user, page, took = line.split()
    return user, float(took)


try:
    dict(mrpy.mapreduce(careless, largest, mrpy.read_text(folder)))
except ValueError as error:
    print(type(error).__name__, error)

found = mrpy.mapreduce(careless, largest, mrpy.read_text(folder), on_error="skip")
assert dict(found) == slowest

# %% [markdown]
# ## Results on disk
#
# What is too much for this process is written by the workers: one part per task, into a folder that appears when
# all of it is there. If something fails, or the power does, there is the old output or none, never a half.

# %%
def is_slow(line):
    return not line.startswith("#") and float(line.split()[-1]) > 200


output = folder / "slow"
mrpy.read_text(folder / "*.log").filter(is_slow).to_text(output)
print(sorted(path.name for path in output.iterdir())[:3])

slow = mrpy.read_text(output)
assert slow.count() == sum(float(took) > 200 for several in times.values() for took in several)

# %%
shutil.rmtree(folder)
