//! Which caller may use which route. What is not listed here is the master's alone.

use crate::api::RunId;
use crate::orchestrator::store::Scope;

/// Who makes a request, after the key or session was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Holds the admin key, or a session that was opened with it.
    Admin,
    /// Looks at the dashboard on the orchestrator's own machine.
    Viewer,
    /// Holds a run key.
    Run(RunId),
    /// Shows nothing; on loopback some pages are open.
    Nobody,
}

impl Caller {
    /// What the store checks a task's run against.
    pub fn scope(&self) -> Scope {
        match self {
            Caller::Run(run) => Scope::Run(run.clone()),
            Caller::Admin | Caller::Viewer | Caller::Nobody => Scope::Admin,
        }
    }
}

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone: the login page and the files it needs, which hold no data.
    Public,
    /// Anyone on loopback, elsewhere a key or session.
    Local,
    /// Anyone on loopback, elsewhere the admin key or a session: it speaks of all runs.
    LocalOrAdmin,
    /// A run key of the same run, or the admin key.
    Runner,
    /// The admin key or a session.
    Admin,
}

impl Access {
    /// Access to a route by its template, as the router matched it; `None` is no route.
    pub fn of(route: Option<&str>) -> Access {
        match route {
            Some("/login" | "/login.js" | "/dashboard.css" | "/dashboard.js") => Access::Public,
            Some("/up" | "/ready") => Access::Local,
            Some("/metrics" | "/") => Access::LocalOrAdmin,
            Some(
                "/api/v1/runs/{id}/tasks/claim"
                | "/api/v1/runs/{id}/hosts/{host}/events"
                | "/api/v1/runs/{id}/hosts/{host}/deadline"
                | "/api/v1/runs/{id}/runners/{runner}/gone"
                | "/api/v1/binaries/{sha256}"
                | "/api/v1/tasks/{id}/heartbeat"
                | "/api/v1/tasks/{id}/upload"
                | "/api/v1/tasks/{id}/result"
                | "/api/v1/tasks/{id}/complete"
                | "/api/v1/tasks/{id}/fail"
                | "/api/v1/tasks/{id}/release",
            ) => Access::Runner,
            _ => Access::Admin,
        }
    }

    /// Whether whoever is on loopback needs no key.
    pub fn is_open_on_loopback(self) -> bool {
        matches!(self, Access::Local | Access::LocalOrAdmin)
    }

    /// Whether a run key is enough.
    pub fn takes_run_keys(self) -> bool {
        !matches!(self, Access::Admin | Access::LocalOrAdmin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_needs_the_admin_key() {
        assert_eq!(Access::of(None), Access::Admin);
        assert_eq!(Access::of(Some("/api/v1/runs")), Access::Admin);
        assert_eq!(Access::of(Some("/api/v1/anything/new")), Access::Admin);
    }
}
