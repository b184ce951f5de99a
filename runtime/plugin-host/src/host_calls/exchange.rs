//! `exchange`: facts, and what an entry carries from phase to phase.

use crate::bindings::weir::plugin::exchange::{Entity, Facts, Fault, Host, Identity};
use crate::exchange::{self, EntityFacts, Kill};
use crate::limits::KEPT_BYTES;
use crate::state::State;
use std::time::Duration;
use wasmtime::Result;

impl Host for State {
    fn id(&mut self) -> Result<String> {
        let id = self.lent()?.id.clone();
        self.charge(id.len())?;
        Ok(id)
    }
    fn route(&mut self) -> Result<Entity> {
        // In the log phase there may be none: the request matched no route.
        let route = self.lent()?.route.as_deref().map(entity).unwrap_or(Entity { id: String::new(), name: None });
        self.charge(route.id.len() + route.name.as_ref().map_or(0, String::len))?;
        Ok(route)
    }
    fn service(&mut self) -> Result<Option<Entity>> {
        let service = self.lent()?.service.as_deref().map(entity);
        self.charge(service.as_ref().map_or(0, |service| service.id.len() + service.name.as_ref().map_or(0, String::len)))?;
        Ok(service)
    }
    fn consumer(&mut self) -> Result<Option<Identity>> {
        let caller = self.lent()?.caller.as_deref();
        let consumer = caller.map(|caller| &*caller.consumer).map(|consumer| Identity {
            id: consumer.id.to_string(),
            username: consumer.username.clone(),
            custom_id: consumer.custom_id.clone(),
        });
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.charge(consumer.as_ref().map_or(0, |who| who.id.len() + length(&who.username) + length(&who.custom_id)))?;
        Ok(consumer)
    }
    fn capture(&mut self, name: String) -> Result<Option<String>> {
        let value = self.lent()?.captures.iter().find(|(group, _)| *group == name).map(|(_, value)| value.clone());
        self.charge(name.len() + value.as_ref().map_or(0, String::len))?;
        Ok(value)
    }
    fn outcome(&mut self) -> Result<Facts> {
        self.charge(size_of::<Facts>())?;
        let outcome = &self.lent()?.outcome;
        Ok(Facts {
            status: outcome.status,
            fault: match outcome.fault {
                exchange::Fault::None => Fault::None,
                exchange::Fault::Client => Fault::Client,
                exchange::Fault::Upstream => Fault::Upstream,
                exchange::Fault::Plugin => Fault::Plugin,
                exchange::Fault::Gateway => Fault::Gateway,
            },
            total_us: micros(outcome.total),
            upstream_us: outcome.upstream.map(micros),
            request_bytes: outcome.request_bytes,
            response_bytes: outcome.response_bytes,
        })
    }

    fn keep(&mut self, state: Vec<u8>) -> Result<()> {
        self.charge(state.len())?;
        if state.len() > KEPT_BYTES {
            return Err(self.end(Kill::Limit, "`keep` takes 16 KiB"));
        }
        let slot = self.entry_slot;
        let kept = &mut self.lent()?.kept;
        match kept.iter_mut().find(|(owner, _)| *owner == slot) {
            Some((_, bytes)) => *bytes = state,
            None => kept.push((slot, state)),
        }
        Ok(())
    }
    fn kept(&mut self) -> Result<Option<Vec<u8>>> {
        let slot = self.entry_slot;
        let kept = self.lent()?.kept.iter().find(|(owner, _)| *owner == slot).map(|(_, bytes)| bytes.clone());
        self.charge(kept.as_ref().map_or(0, Vec::len))?;
        Ok(kept)
    }
}

fn entity(facts: &EntityFacts) -> Entity {
    Entity { id: facts.id_text.clone(), name: facts.name.clone() }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
