"""The schema of auth.db, one step a version. A published step never changes; a change is a new step.

Times are seconds since the epoch. Secrets are kept as SHA-256 (`shared.access.credentials.digest`), passwords as
argon2id, TOTP secrets sealed. Lives here: SQL.
"""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE users (
            id TEXT PRIMARY KEY,
            username TEXT NOT NULL UNIQUE COLLATE NOCASE,
            password_hash TEXT,
            role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'editor', 'admin')),
            created_at REAL NOT NULL,
            disabled_at REAL,
            oidc_issuer TEXT,
            oidc_subject TEXT,
            UNIQUE (oidc_issuer, oidc_subject)
        )""",
        """CREATE TABLE sessions (
            id TEXT PRIMARY KEY,
            token_hash TEXT NOT NULL UNIQUE,
            user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            method TEXT NOT NULL,
            created_at REAL NOT NULL,
            last_used_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            confirmed_at REAL NOT NULL,
            device_name TEXT NOT NULL DEFAULT '',
            user_agent TEXT NOT NULL DEFAULT '',
            created_ip TEXT NOT NULL DEFAULT '',
            last_ip TEXT NOT NULL DEFAULT ''
        )""",
        "CREATE INDEX sessions_user ON sessions (user_id)",
        """CREATE TABLE token_families (
            id TEXT PRIMARY KEY,
            user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            created_at REAL NOT NULL,
            last_used_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            confirmed_at REAL NOT NULL,
            revoked_at REAL,
            device_name TEXT NOT NULL DEFAULT '',
            user_agent TEXT NOT NULL DEFAULT '',
            created_ip TEXT NOT NULL DEFAULT '',
            last_ip TEXT NOT NULL DEFAULT ''
        )""",
        "CREATE INDEX token_families_user ON token_families (user_id)",
        """CREATE TABLE refresh_tokens (
            token_hash TEXT PRIMARY KEY,
            family_id TEXT NOT NULL REFERENCES token_families (id) ON DELETE CASCADE,
            state TEXT NOT NULL CHECK (state IN ('active', 'used')),
            created_at REAL NOT NULL,
            used_at REAL,
            expires_at REAL NOT NULL
        )""",
        "CREATE INDEX refresh_tokens_family ON refresh_tokens (family_id)",
        """CREATE TABLE access_tokens (
            token_hash TEXT PRIMARY KEY,
            family_id TEXT NOT NULL REFERENCES token_families (id) ON DELETE CASCADE,
            expires_at REAL NOT NULL
        )""",
        "CREATE INDEX access_tokens_family ON access_tokens (family_id)",
        """CREATE TABLE api_keys (
            id TEXT PRIMARY KEY,
            key_hash TEXT NOT NULL UNIQUE,
            user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            name TEXT NOT NULL DEFAULT '',
            scopes TEXT NOT NULL,
            networks TEXT NOT NULL DEFAULT '',
            created_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            last_used_at REAL,
            revoked_at REAL
        )""",
        "CREATE INDEX api_keys_user ON api_keys (user_id)",
        """CREATE TABLE setup_tokens (
            token_hash TEXT PRIMARY KEY,
            expires_at REAL NOT NULL
        )""",
        """CREATE TABLE invites (
            id TEXT PRIMARY KEY,
            token_hash TEXT NOT NULL UNIQUE,
            role TEXT NOT NULL,
            created_by TEXT NOT NULL,
            created_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            used_at REAL,
            used_by TEXT,
            revoked_at REAL
        )""",
        """CREATE TABLE totp (
            user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
            secret TEXT,
            confirmed_at REAL,
            last_step INTEGER NOT NULL DEFAULT 0,
            pending_secret TEXT,
            pending_at REAL
        )""",
        """CREATE TABLE recovery_codes (
            user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            code_hash TEXT NOT NULL,
            used_at REAL,
            PRIMARY KEY (user_id, code_hash)
        )""",
        """CREATE TABLE device_logins (
            device_hash TEXT PRIMARY KEY,
            user_code TEXT NOT NULL UNIQUE,
            browser_hash TEXT NOT NULL,
            number TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'redeemed')),
            user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
            created_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            interval_s REAL NOT NULL,
            polled_at REAL,
            address TEXT NOT NULL DEFAULT '',
            user_agent TEXT NOT NULL DEFAULT ''
        )""",
        """CREATE TABLE oidc_states (
            state_hash TEXT PRIMARY KEY,
            browser_hash TEXT NOT NULL,
            nonce TEXT NOT NULL,
            verifier TEXT NOT NULL,
            next_path TEXT NOT NULL,
            expires_at REAL NOT NULL
        )""",
    ),
    (
        "ALTER TABLE totp ADD COLUMN pending_codes TEXT NOT NULL DEFAULT ''",  # hashes, which wait with the secret
        "ALTER TABLE totp ADD COLUMN confirmed_by TEXT",  # the session or token family that put it into force
        "ALTER TABLE device_logins ADD COLUMN approved_by TEXT",  # likewise: the approval ends with it
        # Whom the provider named, where Dubline's own second factor is still to be shown.
        "ALTER TABLE oidc_states ADD COLUMN user_id TEXT REFERENCES users (id) ON DELETE CASCADE",
    ),
    (
        # The newest audit events of the log, which cannot be asked for the newest of many: this table is a projection,
        # and the only one here. Emptied, it fills itself again.
        """CREATE TABLE audit_events (
            seq INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            time REAL NOT NULL,
            actor TEXT NOT NULL,
            action TEXT NOT NULL,
            outcome TEXT NOT NULL,
            about TEXT NOT NULL,
            address TEXT NOT NULL,
            agent TEXT NOT NULL,
            detail TEXT NOT NULL
        )""",
        "CREATE INDEX audit_events_actor ON audit_events (actor, seq)",
        "CREATE INDEX audit_events_about ON audit_events (about, seq)",
    ),
    (
        """CREATE TABLE password_resets (
            token_hash TEXT PRIMARY KEY,
            user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            expires_at REAL NOT NULL
        )""",
    ),
    (
        # What other processes than ingest recorded, until ingest has put it into the log (`audit_outbox`).
        """CREATE TABLE audit_outbox (
            id TEXT PRIMARY KEY,
            event TEXT NOT NULL
        )""",
    ),
)
