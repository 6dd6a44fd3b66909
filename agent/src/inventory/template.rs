//! Paths into templates: `/users/7` becomes `/users/{userId}`.
