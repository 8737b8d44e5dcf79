//! The cost of the rate limit: two authenticated routes, with a limit that refuses nothing and without one.

use crate::{Outcome, load, plan::Plan, servers::Grantd};

/// The load comes from this machine, which is exempt by default.
const LIMITED: [(&str, &str); 2] = [("GRANTD_RATE_LIMIT", "1000000000/1s"), ("GRANTD_RATE_LIMIT_EXEMPT", "none")];
const UNLIMITED: [(&str, &str); 1] = [("GRANTD_RATE_LIMIT", "off")];

/// Requests per second to a route, of each round.
pub(crate) struct Rates {
    pub(crate) route: &'static str,
    pub(crate) with: Vec<f64>,
    pub(crate) without: Vec<f64>,
}

/// Measures the route of the other measurements, and the cheapest one with a token, where the limit weighs most.
pub(crate) fn rates(grantd: &Grantd, token: &str, clients: usize, plan: &Plan) -> Outcome<[Rates; 2]> {
    let mut routes = ["/users/me", "/verify"].map(|path| {
        let route = if path == "/verify" { "GET /verify" } else { "GET /users/me" };
        (load::get(path, Some(token)), Rates { route, with: Vec::new(), without: Vec::new() })
    });
    for round in 0..plan.rounds {
        // The first of a round is not always the same.
        let limited_first = round % 2 == 0;
        for limited in [limited_first, !limited_first] {
            let (server, _) = grantd.start_with(if limited { &LIMITED } else { &UNLIMITED })?;
            for (request, rates) in &mut routes {
                let rate = load::per_second(server.address, request, clients, plan)?;
                if limited { rates.with.push(rate) } else { rates.without.push(rate) }
            }
        }
    }
    Ok(routes.map(|(_, rates)| rates))
}
