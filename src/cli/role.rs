//! `grantd role …` and `grantd scope …`

use clap::Subcommand;
use grantd_guard::Scope;

use super::{Outcome, output::Output};
use crate::{
    app::App,
    authority::Authority,
    names::{Description, RoleName},
    roles,
    store::pages::{PAGE, every},
};

#[derive(Subcommand)]
pub(super) enum RoleCommand {
    /// Create a role or replace its scopes
    Set {
        /// Its name
        name: RoleName,
        /// For people
        #[arg(long)]
        description: Option<String>,
        /// A scope that it gives; may be repeated. Those that are not named are taken from it
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<Scope>,
    },
    /// List all roles
    List,
    /// Show one role
    Show {
        /// Its name
        name: String,
    },
    /// Delete a role, and take it from all that have it
    Delete {
        /// Its name
        name: String,
    },
}

#[derive(Subcommand)]
pub(super) enum ScopeCommand {
    /// Create or update a scope
    Set {
        /// Its name
        name: Scope,
        /// For people
        #[arg(long)]
        description: Option<String>,
    },
    /// List all scopes
    List,
    /// Show one scope
    Show {
        /// Its name
        name: String,
    },
    /// Delete a scope, and take it from all roles and clients
    Delete {
        /// Its name
        name: String,
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
            let all = every(
                async |after: Option<String>| roles::list_roles(conn, &after.unwrap_or_default(), PAGE).await,
                |role| role.name.to_string(),
            )
            .await?;
            let rows = all.iter().map(|role| {
                vec![
                    role.name.to_string(),
                    role.scopes.to_string(),
                    role.description.to_string(),
                    built_in(role.built_in),
                ]
            });
            output.table(&all, &["name", "scopes", "description", ""], rows)
        }
        RoleCommand::Show { name } => output.object(&roles::find_role(&mut app.store.read().await?, &name).await?),
        RoleCommand::Delete { name } => {
            let (by, now) = (Authority::system(), app.now());
            app.write(async |tx| roles::delete_role(tx, &name, &by, now).await).await?;
            output.done("The role is gone, and nobody has it any more.")
        }
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
            output.table(&all, &["name", "description", ""], rows)
        }
        ScopeCommand::Show { name } => output.object(&roles::find_scope(&mut app.store.read().await?, &name).await?),
        ScopeCommand::Delete { name } => {
            let (by, now) = (Authority::system(), app.now());
            app.write(async |tx| roles::delete_scope(tx, &name, &by, now).await).await?;
            output.done("The scope is gone, and no role or client has it any more.")
        }
    }
}

fn built_in(built_in: bool) -> String {
    if built_in { "built-in" } else { "" }.to_owned()
}
