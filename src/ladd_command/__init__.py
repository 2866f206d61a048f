"""The command `ladd`: its subcommands and their flags. What they do is in `ladd_hf.cli`.

It stands outside of `ladd_hf`, whose import loads torch and transformers, so that help, completion and the sentence
about a wrong flag come at once.
"""
