-- The roles of each user.
CREATE TABLE user_roles (
    user_id BLOB NOT NULL,
    role    TEXT NOT NULL,
    CONSTRAINT user_roles_pkey PRIMARY KEY (user_id, role),
    CONSTRAINT user_roles_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT user_roles_role_fkey FOREIGN KEY (role) REFERENCES roles (name) ON DELETE CASCADE
) STRICT;

CREATE INDEX user_roles_role_idx ON user_roles (role, user_id);
