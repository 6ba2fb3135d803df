"""Users that an app keeps itself: email and password, sessions, API keys. No provider needed.

# functions/auth.py
from cupola.users import PasswordUsers

users = PasswordUsers()     # the functions auth:sign_up, auth:sign_in, ...
"""

from cupola.users.password_users import PasswordUsers, SignedIn
from cupola.users.tables import User, current_user

__all__ = ["PasswordUsers", "SignedIn", "User", "current_user"]
