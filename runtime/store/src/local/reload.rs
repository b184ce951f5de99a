//! Begins anew from a state that the authority has: into a file of its own, which takes the old one's place when it is whole.
//!
//! Whoever holds a view of the old file goes on reading it.

use super::authority::{Authority, Base, Unread};
use super::writer::Writer;
use super::{file, folder, recovery};
use crate::hash::StateSum;
use crate::replica::meta::{Meta, Role, Tip};
use crate::replica::{BLOBS, ReplicaError, STATE, blobs, fold, image};
use crate::row::Change;
use redb::Durability;
use std::path::Path;

/// Loads what the authority has and goes on from there. Nothing has changed if it fails.
pub(crate) fn reload(writer: &mut Writer, authority: &mut dyn Authority) -> Result<(), Unread> {
    let base = authority.base()?;
    let folder = writer.path.parent().unwrap_or(Path::new(".")).to_path_buf();
    let path = folder::file_of(&folder, base.cluster);
    let fresh = path.with_extension("redb.loading");
    tracing::info!(revision = base.tip.revision.0, parts = base.parts.len(), "loading the state from the store");
    load(writer, authority, &base, &fresh)?;
    let kept = (base.cluster == writer.meta.cluster).then_some(&path);
    // The old file of this history goes; one of another history stays beside it, for whoever wants it back.
    std::fs::rename(&fresh, &path).map_err(|error| format!("{} cannot take its place: {error}", fresh.display()))?;
    if kept.is_none() {
        folder::point_to(&folder, base.cluster).map_err(|error| error.to_string())?;
    }
    writer.path = path;
    writer.meta.cluster = base.cluster;
    // Whatever revision the old file had: this is meant to be another.
    writer.meta.tip = base.tip;
    recovery::reopen(writer);
    match &writer.file {
        Some(_) => Ok(()),
        None => Err(format!("{} cannot be opened", writer.path.display()).into()),
    }
}

fn load(writer: &Writer, authority: &mut dyn Authority, base: &Base, fresh: &Path) -> Result<(), Unread> {
    let now = (writer.tuning.clock)();
    let text = |error: &dyn std::fmt::Display| error.to_string();
    file::create(fresh, Role::Replica, base.cluster, &writer.hashes).map_err(|error| text(&error))?;
    let opened = file::open(fresh, Role::Replica, base.cluster, &writer.hashes, writer.tuning.cache_bytes);
    let opened = opened.map_err(|error| text(&error))?;
    let mut sum = StateSum::default();
    for number in 0..base.parts.len() {
        let bytes = authority.part(base, number)?;
        let put = || -> Result<Result<(), Unread>, ReplicaError> {
            let entries = image::decode(&bytes)?;
            let mut transaction = opened.database.begin_write()?;
            // Only the last commit must last: a file that was not finished is begun again.
            transaction.set_durability(Durability::None)?;
            {
                let mut state = transaction.open_table(STATE)?;
                let mut chunks = transaction.open_table(BLOBS)?;
                for entry in &entries {
                    let Change::Put { entity, .. } = &entry.change else { continue };
                    let Some(digest) = fold::blob_of(entity) else { continue };
                    if blobs::info(&state, digest)?.is_none() {
                        match authority.blob(digest) {
                            Ok(Some(bytes)) => blobs::put(&mut state, &mut chunks, digest, &bytes, now)?,
                            Ok(None) => {
                                let cause = format!("the bytes of component {} ({digest}) are not in the store", entity.id);
                                return Ok(Err(Unread::Away(cause)));
                            }
                            Err(unread) => return Ok(Err(unread)),
                        }
                    }
                }
                image::load(&mut state, &writer.hashes, &mut sum, &entries, now)?;
            }
            transaction.commit()?;
            Ok(Ok(()))
        };
        file::guarded(put).map_err(|panic| format!("{}: {panic}", fresh.display()))?.map_err(|error| text(&error))??;
    }
    if sum != base.tip.state {
        let cause = "the checkpoint in the store does not add up to the state that it says; it was not taken";
        return Err(Unread::Altered(cause.to_owned()));
    }
    let finish = || -> Result<(), ReplicaError> {
        let mut transaction = opened.database.begin_write()?;
        transaction.set_quick_repair(true);
        let meta = Meta::based(Role::Replica, base.cluster, &writer.hashes, base.tip);
        meta.write(&mut transaction.open_table(STATE)?)?;
        transaction.commit()?;
        Ok(())
    };
    finish().map_err(|error| text(&error).into())
}

/// A tip at the beginning of a history.
pub(crate) fn beginning(cluster: weir_model::Id, hashes: &crate::hash::Hashes) -> Tip {
    Meta::genesis(Role::Replica, cluster, hashes).tip
}
