//! `grantd role` and `grantd scope`: what users and clients may do.

use clap::Subcommand;
use grantd_guard::Scope;

use super::{
    Outcome,
    client::all_clients,
    confirm::{Confirmation, count},
    output::Output,
    value,
};
use crate::{
    app::App,
    authority::Authority,
    names::{Description, RoleName},
    roles::{self, Role},
    store::{
        Conn, StoreError,
        pages::{PAGE, every},
    },
    users,
};

#[derive(Subcommand)]
pub(super) enum RoleCommand {
    /// Create a role or replace its scopes
    Set {
        /// Name of the role
        #[arg(value_parser = value::<RoleName>)]
        name: RoleName,
        /// Description
        #[arg(long)]
        description: Option<String>,
        /// Scope of the role; may be repeated. Replaces its current scopes
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<Scope>,
    },
    /// List all roles
    List,
    /// Show a role
    Show {
        /// Name of the role
        name: String,
    },
    /// Delete a role and remove it from all users
    Delete {
        /// Name of the role
        name: String,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

#[derive(Subcommand)]
pub(super) enum ScopeCommand {
    /// Create or update a scope
    Set {
        /// Name of the scope
        name: Scope,
        /// Description
        #[arg(long)]
        description: Option<String>,
    },
    /// List all scopes
    List,
    /// Show a scope
    Show {
        /// Name of the scope
        name: String,
    },
    /// Delete a scope and remove it from all roles and clients
    Delete {
        /// Name of the scope
        name: String,
        #[command(flatten)]
        confirmation: Confirmation,
    },
}

pub(super) async fn run_role(command: RoleCommand, app: &App, output: Output) -> Outcome {
    match command {
        RoleCommand::Set { name, description, scopes } => {
            let scopes = scopes.into_iter().collect();
            let (by, now) = (Authority::system(), app.now());
            let description = description.as_deref().map(str::parse::<Description>).transpose()?;
            let put_role =
                app.write(async |tx| roles::put_role(tx, &name, description.as_ref(), &scopes, &by, now).await);
            let (role, _new) = put_role.await?;
            output.object(&role)
        }
        RoleCommand::List => {
            let conn = &mut app.store.read().await?;
            let all = all_roles(conn).await?;
            let rows = all.iter().map(|role| {
                vec![
                    role.name.to_string(),
                    role.scopes.to_string(),
                    role.description.to_string(),
                    built_in(role.built_in),
                ]
            });
            output.table("roles", &all, &["name", "scopes", "description", ""], rows)
        }
        RoleCommand::Show { name } => output.object(&roles::find_role(&mut app.store.read().await?, &name).await?),
        RoleCommand::Delete { name, confirmation } => delete_role(app, &name, &confirmation, output).await,
    }
}

pub(super) async fn run_scope(command: ScopeCommand, app: &App, output: Output) -> Outcome {
    match command {
        ScopeCommand::Set { name, description } => {
            let (by, now) = (Authority::system(), app.now());
            // Clap's parser takes every scope-token, and a scope's name is a narrower one.
            let name = roles::parse_scope_name(name.as_str())?;
            let description = description.as_deref().map(str::parse::<Description>).transpose()?;
            let put_scope = app.write(async |tx| roles::put_scope(tx, &name, description.as_ref(), &by, now).await);
            let (scope, _new) = put_scope.await?;
            output.object(&scope)
        }
        ScopeCommand::List => {
            let conn = &mut app.store.read().await?;
            let all = every(
                async |after: Option<String>| roles::list_scopes(conn, &after.unwrap_or_default(), PAGE).await,
                |scope| scope.name.to_string(),
            )
            .await?;
            let rows = all
                .iter()
                .map(|scope| vec![scope.name.to_string(), scope.description.to_string(), built_in(scope.built_in)]);
            output.table("scopes", &all, &["name", "description", ""], rows)
        }
        ScopeCommand::Show { name } => output.object(&roles::find_scope(&mut app.store.read().await?, &name).await?),
        ScopeCommand::Delete { name, confirmation } => delete_scope(app, &name, &confirmation, output).await,
    }
}

async fn all_roles(conn: &mut Conn) -> Result<Vec<Role>, StoreError> {
    let list = async |after: Option<String>| roles::list_roles(conn, &after.unwrap_or_default(), PAGE).await;
    every(list, |role| role.name.to_string()).await
}

async fn delete_role(app: &App, name: &str, confirmation: &Confirmation, output: Output) -> Outcome {
    let by = Authority::system();
    let (name, users) = {
        let conn = &mut app.store.read().await?;
        let role = roles::find_role(conn, name).await?;
        role.check_deletable()?;
        let users = users::count_with_role(conn, role.name.as_str()).await?;
        (role.name, count(users, "user"))
    };
    confirmation.ask(&format!("This deletes the role {name} and removes it from {users}."))?;
    app.write(async |tx| roles::delete_role(tx, name.as_str(), &by, app.now()).await).await?;
    output.done(&format!("Deleted the role {name}; it was removed from {users}."))
}

async fn delete_scope(app: &App, name: &str, confirmation: &Confirmation, output: Output) -> Outcome {
    let by = Authority::system();
    let (name, holders) = {
        let conn = &mut app.store.read().await?;
        let scope = roles::find_scope(conn, name).await?;
        scope.check_deletable()?;
        let holders = holders_of_scope(conn, scope.name.as_str()).await?;
        (scope.name, holders)
    };
    confirmation.ask(&format!(
        "This deletes the scope {name} and removes it from {holders}. Tokens carry it until they expire."
    ))?;
    app.write(async |tx| roles::delete_scope(tx, name.as_str(), &by, app.now()).await).await?;
    output.done(&format!("Deleted the scope {name}; it was removed from {holders}."))
}

/// Returns how many roles, clients and users have a scope: `1 role, no clients and 2 users`.
async fn holders_of_scope(conn: &mut Conn, name: &str) -> Result<String, StoreError> {
    let roles = all_roles(conn).await?.iter().filter(|role| role.scopes.contains(name)).count();
    let clients = all_clients(conn).await?.iter().filter(|client| client.scopes.contains(name)).count();
    let users = users::count_with_scope(conn, name).await?;
    Ok(format!("{}, {} and {}", count(roles, "role"), count(clients, "client"), count(users, "user")))
}

fn built_in(built_in: bool) -> String {
    if built_in { "built-in" } else { "" }.to_owned()
}
