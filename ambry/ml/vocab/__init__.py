"""People who know the field change vocabularies: names are proposed, reviewed and accepted, and old models go on.

from ambry.ml import vocab

made = vocab.propose(client, "features", "flagship/feedActions-1-0", ["Repost"], author="ann", reason="new in spring")
vocab.accept(client, "features", made.id, author="bob", reason="seen in the logs")      # the next MINOR version
[each.state for each in vocab.proposals(client, "features")]
"""

from __future__ import annotations

from ambry.ml.vocab.document import VocabProposal, VocabReview
from ambry.ml.vocab.proposals import ProposalState, ReviewedProposal, proposal, proposals, propose
from ambry.ml.vocab.review import accept, reject

__all__ = [
    "ProposalState",
    "ReviewedProposal",
    "VocabProposal",
    "VocabReview",
    "accept",
    "proposal",
    "proposals",
    "propose",
    "reject",
]
