"""Signing in with a name of one's own.

The page makes up a secret token and keeps it; whoever shows it is that user. Good enough to tell
friends apart; an app in the open has `cupola.users.PasswordUsers` or an identity provider instead.
"""

from cupola import ApplicationError, Id, MutationCtx, mutation

from .access import hash_of, require_text
from .schema import User

TOKEN_LENGTH_MIN = 32


@mutation
def sign_in(ctx: MutationCtx, name: str, token: str) -> Id[User]:
    """Become the user of this name: a new one, or one who signed in with the same token before."""
    name = require_text(name, "A name", length_max=40)
    if len(token) < TOKEN_LENGTH_MIN:
        raise ApplicationError(
            {"code": "WeakToken", "message": f"A token has at least {TOKEN_LENGTH_MIN} characters."}
        )
    token_hash = hash_of(token)
    user = ctx.db.query(User).with_index("by_name", name=name).unique()
    if user is not None and user.token_hash != token_hash:
        raise ApplicationError(
            {"code": "NameTaken", "message": f"Somebody else is called {name} here."}
        )
    if user is not None:
        return user._id
    renamed = ctx.db.query(User).with_index("by_token_hash", token_hash=token_hash).unique()
    if renamed is not None:
        ctx.db.patch(renamed._id, name=name)
        return renamed._id
    return ctx.db.insert(User(name=name, token_hash=token_hash))
