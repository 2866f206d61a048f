"""The special tokens that begin, end, separate and fill training examples, as far as a tokenizer has them."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

_STAND_INS = {"bos": "cls", "eos": "sep"}


class SpecialTokens:
    """The special tokens of a tokenizer, `wanted` by a mode or not (`None`: those that it has).

    `between`: ids that separate documents instead.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, wanted: bool | None, between: list[int] | None) -> None:
        self.tokenizer, self.wanted, self.between = tokenizer, wanted, between

    def needed(self, name: str) -> int:
        """Returns a token's id. Raises `ValueError` if the tokenizer has none."""
        token = self._find(name)
        if token is None:
            raise ValueError(
                f"The tokenizer has no {name.upper()} token, which this mode writes: "
                + (
                    "make it fit by `with_mask_token`, or choose `remainder='drop'`."
                    if name == "pad"
                    else f"name one of its tokens (`{name}_token` of `make_tokenizer`), or choose mode 'pack' or 'pad' "
                    "with `special_tokens=False`."
                )
            )
        return token

    def filling_end(self) -> int:
        """Returns the end-of-sequence token for blocks that are filled with it."""
        if self.wanted is False:
            raise ValueError(
                "`fill` is 'eos', and `special_tokens` is False: a text that has no end-of-sequence token at its end "
                "is not filled up with them, so leave one of the two out."
            )
        return self.needed("eos")

    def listed(self, name: str) -> list[int]:
        """Returns a token's id as a list, empty if it is not wanted."""
        if self.wanted is False:
            return []
        if self.wanted:
            return [self.needed(name)]
        token = self._find(name)
        return [] if token is None else [token]

    def separator(self) -> list[int]:
        """Returns the ids after each document."""
        return self.listed("eos") if self.between is None else self.between

    def padding(self, remainder: str) -> int | None:
        """Returns the id that pads an incomplete block; `None` if that is dropped."""
        return self.needed("pad") if remainder == "pad" else None

    def _find(self, name: str) -> int | None:
        token: int | None = getattr(self.tokenizer, f"{name}_token_id")
        return self._find(_STAND_INS[name]) if token is None and name in _STAND_INS else token
