"""Learn to remember: a cue, a long corridor, and a choice, with and without a memory.

The task is a gymnasium environment. Its reward tells whether the turn at the end goes where the cue at the beginning
pointed, which nothing on the way repeats. The agent is a gated block over `SegmentRecurrent`: a token sees its
segment and, with a memory, the tokens before it. It acts step by step with the layer's state, and learns by REINFORCE
from whole episodes at once, without a state, which gives the same numbers. Needs gymnasium.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import gymnasium
import torch
import typer
from gymnasium.spaces import Discrete
from gymnasium.vector import SyncVectorEnv
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

import attncc
from attncc.nn import GatedBlock, SegmentRecurrent

EMBED_DIM, HEADS, SEGMENT = 32, 2, 8
EPISODES = 256  # that a trained agent is judged by
#: Observations beside the two cues, 0 and 1, which are also the actions: left, and right.
CORRIDOR, JUNCTION = 2, 3


class Corridor(gymnasium.Env[int, int]):
    """A T-maze (Bakker 2001): the first observation points left or right, the last is a junction.

    Any action goes on along the corridor. At the junction the reward is 1 for the turn that the cue pointed to, else 0.

    Args:
        length: Steps between the cue and the junction.
    """

    def __init__(self, length: int = 40) -> None:
        self.length, self.observation_space, self.action_space = length, Discrete(4), Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Return a new cue."""
        super().reset(seed=seed)
        self.cue, self.place = int(self.np_random.integers(2)), 0
        return self.cue, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Go on, or turn."""
        if self.place > self.length:
            return JUNCTION, float(action == self.cue), True, False, {}
        self.place += 1
        return JUNCTION if self.place > self.length else CORRIDOR, 0.0, False, False, {}


class Agent(nn.Module):
    """From observations, (B, N), to logits of actions, (B, N, 2).

    Args:
        memory: Tokens before a segment that are seen; 0 for none.
    """

    def __init__(self, memory: int) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(4, EMBED_DIM), nn.Linear(EMBED_DIM, 2)
        self.block = GatedBlock(EMBED_DIM, SegmentRecurrent(EMBED_DIM, HEADS, segment=SEGMENT, memory=memory))

    def forward(self, seen: Tensor) -> Tensor:
        """Return the logits of whole episodes, without a state."""
        logits: Tensor = self.head(self.block(self.embedding(seen)))
        return logits

    def step(self, seen: Tensor, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the logits after observations that follow earlier ones, and the state for the next step."""
        hidden, state = self.block.step(self.embedding(seen), past)
        return self.head(hidden), state


@dataclass(frozen=True)
class Episodes:
    """Observations and actions, (B, N), and returns, (B,), of B episodes."""

    seen: Tensor
    actions: Tensor
    returns: Tensor


@torch.no_grad()
def played(agent: Agent, corridors: SyncVectorEnv) -> Episodes:
    """Return an episode of each corridor, with actions drawn from the agent's policy."""
    observations, _ = corridors.reset()
    seen, actions, returns, past = [], [], torch.zeros(corridors.num_envs), None
    done = False
    while not done:
        seen.append(torch.as_tensor(observations))
        logits, past = agent.step(seen[-1][:, None], past)
        actions.append(torch.distributions.Categorical(logits=logits[:, -1]).sample())
        observations, rewards, terminated, _, _ = corridors.step(actions[-1].numpy())
        returns += torch.as_tensor(rewards, dtype=torch.float32)
        done = bool(terminated.all())  # corridors are of one length
    return Episodes(torch.stack(seen, 1), torch.stack(actions, 1), returns)


def updates(agent: Agent, corridors: SyncVectorEnv, number: int) -> Iterator[float]:
    """Train by REINFORCE (Williams 1992); yield the share of successes before each update."""
    optimizer = torch.optim.Adam(agent.parameters(), 1e-2)
    for _ in range(number):
        episodes = played(agent, corridors)
        log_shares = agent(episodes.seen).log_softmax(-1).gather(-1, episodes.actions[..., None]).squeeze(-1)
        advantages = episodes.returns - episodes.returns.mean()
        optimizer.zero_grad()
        torch.autograd.backward(-(advantages * log_shares.sum(1)).mean())
        nn.utils.clip_grad_norm_(agent.parameters(), 1.0)
        optimizer.step()
        yield episodes.returns.mean().item()


def corridors_of(length: int, number: int, seed: int) -> SyncVectorEnv:
    """Return corridors that run side by side, each with random numbers of its own."""
    found = SyncVectorEnv([lambda: Corridor(length)] * number)
    found.reset(seed=seed)
    return found


def success(memory: int, length: int, number: int, batch: int, seed: int) -> float:
    """Return the share of successes in new episodes, after training."""
    torch.manual_seed(seed)
    agent, corridors = Agent(memory), corridors_of(length, batch, seed)
    title = f"memory {memory}, seed {seed}"
    for _ in track(updates(agent, corridors, number), title, number, console=Console(stderr=True), transient=True):
        pass
    return played(agent, corridors_of(length, EPISODES, seed + 1_000_000)).returns.mean().item()


def main(
    length: Annotated[int, typer.Option(min=1, help="Steps between the cue and the junction.")] = 40,
    memory: Annotated[int, typer.Option(min=1, help="Tokens of the memory.")] = 48,
    number: Annotated[int, typer.Option("--updates", min=1)] = 60,
    batch: Annotated[int, typer.Option(min=2, help="Episodes in an update.")] = 64,
    seeds: Annotated[int, typer.Option(min=1, help="Agents of each kind.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train agents with and without a memory, and print how often they turn where the cue pointed.

    Example: python examples/corridor.py --length 100 --memory 104 --updates 100
    """
    sizes = (memory, 0)
    shares = {size: [success(size, length, number, batch, seed) for seed in range(seeds)] for size in sizes}
    if as_json:
        print(json.dumps({"length": length, "updates": number, "success": shares}))
        return
    print(f"A corridor of {length} steps; success in {EPISODES} episodes after {number} updates of {batch}")
    for size, each in shares.items():
        print(f"memory {size:4}: {statistics.mean(each):4.0%}, seeds {', '.join(f'{share:.0%}' for share in each)}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except attncc.AttnccError as error:
        sys.exit(f"error: {error}")
