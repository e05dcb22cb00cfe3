//! One connection with its prepared statements.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

use crate::orchestrator::store::Durability;
use crate::orchestrator::store::engine::BackendError;

/// A database that does not answer the knock is as good as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An orchestrator that stops in the middle of its batch is cut off by the server after this long, and one
/// that waits for the lock longer says so, instead of leaving its callers without an answer.
const SESSION_SETTINGS: &str = "SET lock_timeout = '15s'; SET idle_in_transaction_session_timeout = '10s'; \
     SET application_name = 'bench orchestrator'";

pub type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

pub struct Session {
    pub client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
}

impl Session {
    /// Connects; the connection's own work is done by a task of the current runtime until it ends.
    pub async fn connect(url: &str, durability: Durability) -> Result<Session, BackendError> {
        let (client, connection) =
            tokio::time::timeout(CONNECT_TIMEOUT, tokio_postgres::connect(url, NoTls)).await??;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "a connection to PostgreSQL ended");
            }
        });
        client.batch_execute(SESSION_SETTINGS).await?;
        if durability == Durability::OsBuffered {
            client.batch_execute("SET synchronous_commit = off").await?;
        }
        Ok(Session { client, statements: Mutex::default() })
    }

    async fn statement(&self, sql: &'static str) -> Result<Statement, BackendError> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(statements.entry(sql).or_insert(statement).clone())
    }

    pub async fn execute(&self, sql: &'static str, values: Values<'_>) -> Result<(), BackendError> {
        let statement = self.statement(sql).await?;
        self.client.execute(&statement, values).await?;
        Ok(())
    }

    pub async fn rows(
        &self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Vec<tokio_postgres::Row>, BackendError> {
        let statement = self.statement(sql).await?;
        Ok(self.client.query(&statement, values).await?)
    }

    /// Rows of a query whose only column is JSON text.
    pub async fn json<T: DeserializeOwned>(
        &self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Vec<T>, BackendError> {
        let rows = self.rows(sql, values).await?;
        rows.iter().map(|row| Ok(serde_json::from_str(row.try_get::<_, &str>(0)?)?)).collect()
    }
}
