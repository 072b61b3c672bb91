# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A tiny chapter
#
# **You will be able to** test the machinery that makes chapters.
#
# **Time** No time at all.

# %% mystnb={"image": {"alt": "A road."}, "figure": {"caption": "Here.", "name": "forward-road"}} tags=["remove-input"]
import matplotlib.pyplot as plt

from minisd.plots import road

road("forward")
plt.show()

# %% [markdown]
# $$ 1 + 1 = 2 $$ (forward-sum)

# %%
print(1 + 1 == 2)

# %% [markdown]
# ## Play

# %%
from minisd.widgets import slider


def draw(power):
    figure, axes = plt.subplots(figsize=(2, 1))
    axes.plot([x**power for x in range(5)])
    return figure


slider(draw, [1, 2], label="power", caption="$x^p$ bends.", alt="Power {}.".format)

# %% [markdown]
# ## Exercises
#
# ```{exercise}
# :label: forward-one
#
# What is 2 + 2?
# ```
#
# ```{solution-start} forward-one
# :class: dropdown
# ```

# %%
2 + 2

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise}
# :label: forward-two
#
# What is 3 + 3?
# ```
#
# ```{solution-start} forward-two
# :class: dropdown
# ```

# %%
3 + 3

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the literature says
#
# It says much {cite}`ho2020`.
#
# ## The way on
#
# Read {doc}`reverse`.
