//! `grantd migrate --dry-run`: the migrations that would be made.

use actix_web::rt::System;

use super::{
    Outcome,
    output::{self, Output},
};
use crate::{
    clock::Clock,
    config::{DatabaseConfig, DatabaseUrl, Settings},
    store::{self, Migration, Schema, Store, StoreError},
};

pub(super) fn dry_run(settings: &Settings, output: Output) -> Outcome {
    let config = settings.check()?.database;
    let schema = System::new().block_on(async {
        if let DatabaseUrl::Sqlite(file) = &config.url {
            store::check_wal(file)?;
        }
        Ok::<_, Box<dyn std::error::Error>>(read(&config).await.map_err(|error| format!("DATABASE_URL: {error}"))?)
    })?;
    if output.json {
        output.object(&schema)?;
    }
    if let Some(problem) = problem(&schema, &config.url) {
        return Err(problem.into());
    }
    if output.json { Ok(()) } else { show(&schema, &config.url, output) }
}

async fn read(config: &DatabaseConfig) -> Result<Schema, StoreError> {
    let Some(store) = Store::inspect(config, Clock::system()).await? else { return Ok(Schema::of_new(&config.url)) };
    let schema = store.schema().await;
    store.close().await;
    schema
}

fn list(migrations: &[Migration]) -> String {
    migrations.iter().map(|one| format!("{} {}", one.version, one.name)).collect::<Vec<_>>().join(", ")
}

/// Returns why `grantd migrate` would fail.
fn problem(schema: &Schema, url: &DatabaseUrl) -> Option<String> {
    if !schema.unknown.is_empty() {
        let unknown = list(&schema.unknown);
        return Some(format!(
            "the database {url} has migrations of a newer version: {unknown}. Use the binary of that version, or restore the \
             backup of before its upgrade"
        ));
    }
    if !schema.damaged.is_empty() {
        let damaged = list(&schema.damaged);
        return Some(format!(
            "migrations of the database {url} failed midway, or were made by another build: {damaged}. Restore the backup of \
             before the upgrade"
        ));
    }
    None
}

fn show(schema: &Schema, url: &DatabaseUrl, output: Output) -> Outcome {
    if schema.pending.is_empty() {
        return output::print(&format!("The database is up to date: {} migrations.", schema.applied));
    }
    let compatible = |one: &Migration| if one.compatible == Some(true) { "yes" } else { "no: stop all servers first" };
    let rows =
        schema.pending.iter().map(|one| vec![one.version.to_string(), one.name.clone(), compatible(one).to_owned()]);
    output.table("migrations", &schema.pending, &["number", "name", "compatible with running servers"], rows)?;
    let made = if schema.applied == 0 { "would create" } else { "would upgrade" };
    let number = schema.pending.len();
    output::print(&format!("\n`grantd migrate` {made} {url} with {number} migrations. Nothing was changed."))
}
