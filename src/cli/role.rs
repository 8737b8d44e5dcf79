//! `grantd role …` and `grantd scope …`

use clap::Subcommand;
use grantd_guard::Scope;

use super::{Outcome, output::Output};
use crate::{
    app::App,
    authority::Authority,
    roles::{self, RoleName},
    store::pages::{PAGE, every},
};

#[derive(Subcommand)]
pub(super) enum RoleCommand {
    /// Make a role, or replace what it gives
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
    /// Make a scope, or describe it anew
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
            let description = description.as_deref();
            let by = Authority::system();
            let (role, _new) = roles::put_role(app, &name, description, &scopes, &by, app.now()).await?;
            output.object(&role)
        }
        RoleCommand::List => {
            let all = every(
                async |after: Option<String>| roles::list_roles(app, &after.unwrap_or_default(), PAGE).await,
                |role| role.name.to_string(),
            )
            .await?;
            let rows = all.iter().map(|role| {
                vec![role.name.to_string(), role.scopes.to_string(), role.description.clone(), built_in(role.built_in)]
            });
            output.table(&all, &["name", "scopes", "description", ""], rows)
        }
        RoleCommand::Show { name } => output.object(&roles::find_role(app, &name).await?),
        RoleCommand::Delete { name } => {
            roles::delete_role(app, &name, &Authority::system(), app.now()).await?;
            output.done("The role is gone, and nobody has it any more.")
        }
    }
}

pub(super) async fn run_scope(command: ScopeCommand, app: &App, output: Output) -> Outcome {
    match command {
        ScopeCommand::Set { name, description } => {
            let (scope, _new) =
                roles::put_scope(app, &name, description.as_deref(), &Authority::system(), app.now()).await?;
            output.object(&scope)
        }
        ScopeCommand::List => {
            let all = every(
                async |after: Option<String>| roles::list_scopes(app, &after.unwrap_or_default(), PAGE).await,
                |scope| scope.name.to_string(),
            )
            .await?;
            let rows = all
                .iter()
                .map(|scope| vec![scope.name.to_string(), scope.description.clone(), built_in(scope.built_in)]);
            output.table(&all, &["name", "description", ""], rows)
        }
        ScopeCommand::Show { name } => output.object(&roles::find_scope(app, &name).await?),
        ScopeCommand::Delete { name } => {
            roles::delete_scope(app, &name, &Authority::system(), app.now()).await?;
            output.done("The scope is gone, and no role or client has it any more.")
        }
    }
}

fn built_in(built_in: bool) -> String {
    if built_in { "built-in" } else { "" }.to_owned()
}
