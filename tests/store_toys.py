"""A tiny model in numpy, its checkpoint and its store: every number is known in advance."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from emo.sites import Site, tensor_name
from emo.store import Store, StorePlan, StoreWriter, weights_hash

EMOTIONS = ("anger", "fear", "happiness")


@dataclass(frozen=True)
class Toy:
    """A residual stream with known weights: resid_post = resid_mid + W g + b."""

    n_groups: int = 4
    emotions: tuple[str, ...] = EMOTIONS
    n_layers: int = 2
    d_model: int = 6
    n_heads: int = 4
    d_head: int = 3
    d_mlp: int = 10
    seed: int = 0
    transposed: bool = False
    planted: dict[str, list[int]] = field(default_factory=dict)
    planted_heads: dict[str, int] = field(default_factory=dict)

    @property
    def samples(self) -> list[dict[str, Any]]:
        return [
            {"id": f"g{g}/{e}", "group": f"g{g}", "valence": "neutral", "emotion": e, "tokens": 5}
            for g in range(self.n_groups)
            for e in self.emotions
        ]

    def rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *key])

    def latent(self, e: int) -> NDArray[np.float32]:
        """Unit vector that planted units of an emotion write."""
        return np.eye(self.d_model, dtype=np.float32)[e]

    def w_down(self, layer: int) -> NDArray[np.float32]:
        weight = self.rng(1, layer).standard_normal((self.d_model, self.d_mlp)) * 0.1
        for e, name in enumerate(self.emotions):
            for j in self.planted.get(name, []):
                weight[:, j] = self.latent(e)
        return weight.astype(np.float32)

    def w_out(self, layer: int) -> NDArray[np.float32]:
        width = self.n_heads * self.d_head
        weight = self.rng(2, layer).standard_normal((self.d_model, width)) * 0.1
        for e, name in enumerate(self.emotions):
            if name in self.planted_heads:
                h = self.planted_heads[name]
                columns = slice(h * self.d_head, (h + 1) * self.d_head)
                weight[:, columns] = self.latent(e)[:, None]
        return weight.astype(np.float32)

    def bias(self, layer: int) -> NDArray[np.float32]:
        return self.rng(3, layer).standard_normal(self.d_model).astype(np.float32)

    def acts(self) -> dict[Site, NDArray[np.float32]]:
        """Every site's rows in the order of `samples`, computed in float32."""
        n = len(self.samples)
        noise = 0.05 if self.planted or self.planted_heads else 1.0
        found: dict[Site, NDArray[np.float32]] = {}
        resid = self.rng(4).standard_normal((n, self.d_model)).astype(np.float32) * noise
        for layer in range(self.n_layers):
            rng = self.rng(5, layer)
            z = rng.standard_normal((n, self.n_heads * self.d_head)).astype(np.float32) * noise
            g = rng.standard_normal((n, self.d_mlp)).astype(np.float32) * noise
            for i, row in enumerate(self.samples):
                g[i, self.planted.get(row["emotion"], [])] += 2
                if row["emotion"] in self.planted_heads:
                    h = self.planted_heads[row["emotion"]]
                    z[i, h * self.d_head : (h + 1) * self.d_head] += 1
            attn = z @ self.w_out(layer).T
            mlp = g @ self.w_down(layer).T + self.bias(layer)
            mid = resid + attn
            post = mid + mlp
            values = {"head_out": z, "mlp_act": g, "attn_out": attn, "mlp_out": mlp}
            values |= {"resid_pre": resid, "resid_mid": mid, "resid_post": post}
            found |= {Site(layer, part): array for part, array in values.items()}
            resid = post
        return found

    def write_checkpoint(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {}
        for layer in range(self.n_layers):
            if self.transposed:
                block, out, down = f"transformer.h.{layer}", "attn.c_proj", "mlp.c_proj"
            else:
                block, out, down = f"model.layers.{layer}", "self_attn.o_proj", "mlp.down_proj"
            turn = np.transpose if self.transposed else np.asarray
            tensors[f"{block}.{out}.weight"] = np.ascontiguousarray(turn(self.w_out(layer)))
            tensors[f"{block}.{down}.weight"] = np.ascontiguousarray(turn(self.w_down(layer)))
            tensors[f"{block}.{down}.bias"] = self.bias(layer)
        save_file(tensors, folder / "model.safetensors")
        config = {"model_type": "gpt2" if self.transposed else "llama"}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    def model(self, folder: Path | None) -> dict[str, Any]:
        return {
            "name": "toy",
            "folder": None if folder is None else str(folder),
            "weight_sha": "none" if folder is None else weights_hash(folder),
            "family": "gpt2" if self.transposed else "llama",
            "n_layers": self.n_layers,
            "d_model": self.d_model,
            "n_heads": self.n_heads,
            "d_head": self.d_head,
            "d_mlp": self.d_mlp,
        }

    def plan(
        self,
        *,
        checkpoint: Path | None = None,
        dtype: str = "F32",
        cuts: tuple[int, ...] = (),
        parts: tuple[str, ...] = (),
        fields: dict[str, Any] | None = None,
    ) -> StorePlan:
        """Plan a store with one position, cut into shards before the rows `cuts`."""
        sites = {s: a.shape[1] for s, a in self.acts().items() if not parts or s.part in parts}
        ends = [*cuts, len(self.samples)]
        starts, model = [0, *cuts], self.model(checkpoint)
        usual = {"weights": model["weight_sha"], "prompts": "def"}
        return StorePlan(
            fields=usual if fields is None else fields,
            model=model,
            dtype=dtype,
            sites=sites,
            positions=("last",),
            samples=self.samples,
            shards=[{"last": stop - start} for start, stop in zip(starts, ends, strict=True)],
        )

    def write_shard(self, writer: StoreWriter, index: int) -> None:
        """Write one shard of a plan made by `plan`."""
        start = sum(shard["last"] for shard in writer.plan.shards[:index])
        stop = start + writer.plan.shards[index]["last"]
        acts = self.acts()
        tensors = {
            tensor_name(s, "last"): np.ascontiguousarray(acts[s][start:stop])
            for s in writer.plan.sites
        }
        rows = np.stack([np.arange(start, stop), np.full(stop - start, 4)], axis=1)
        writer.write(index, tensors, {"last": rows})

    def write_store(self, folder: Path, **options: Any) -> Store:
        with StoreWriter(folder, self.plan(**options)) as writer:
            for index in list(writer.pending):
                self.write_shard(writer, index)
            return writer.finish()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
