//! `grantd role …` and `grantd scope …`

use clap::Subcommand;
use grantd_guard::Scope;

use super::{Outcome, output::Output};
use crate::{
    app::App,
    audit::Origin,
    roles::{self, RoleName},
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
}

pub(super) async fn run_role(command: RoleCommand, app: &App, output: Output) -> Outcome {
    match command {
        RoleCommand::Set { name, description, scopes } => {
            let scopes = scopes.into_iter().collect();
            let description = description.as_deref();
            let (role, _new) = roles::put_role(app, &name, description, &scopes, &Origin::system(), app.now()).await?;
            output.object(&role)
        }
        RoleCommand::List => {
            let all = roles::list_roles(app).await?;
            let rows = all.iter().map(|role| {
                vec![role.name.to_string(), role.scopes.to_string(), role.description.clone(), built_in(role.built_in)]
            });
            output.table(&all, &["name", "scopes", "description", ""], rows)
        }
    }
}

pub(super) async fn run_scope(command: ScopeCommand, app: &App, output: Output) -> Outcome {
    match command {
        ScopeCommand::Set { name, description } => {
            let (scope, _new) =
                roles::put_scope(app, &name, description.as_deref(), &Origin::system(), app.now()).await?;
            output.object(&scope)
        }
        ScopeCommand::List => {
            let all = roles::list_scopes(app).await?;
            let rows = all
                .iter()
                .map(|scope| vec![scope.name.to_string(), scope.description.clone(), built_in(scope.built_in)]);
            output.table(&all, &["name", "description", ""], rows)
        }
    }
}

fn built_in(built_in: bool) -> String {
    if built_in { "built-in" } else { "" }.to_owned()
}
