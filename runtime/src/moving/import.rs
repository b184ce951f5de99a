//! `weir config import`: first the whole file is judged and compared, then what is missing is written, in transactions of a
//! thousand. What has been written stays when it ends early; the same command goes on behind it.

use super::batch::{self, Batch, Operation};
use super::compare::differences;
use super::components::{Components, Standing, is_active};
use super::survey::{Contents, Survey, Surveyor, verify};
use super::target::Target;
use super::{Stop, grouped, next, open};
use crate::admin_api::AdminApi;
use crate::exit::Exit;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weir_admin::export::Line;
use weir_model::schema::{expired, present};
use weir_model::{Entity, Kind};

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// What the command line says.
#[derive(Clone, Copy)]
pub struct Options {
    /// Entities that differ are replaced.
    pub overwrite: bool,
    /// Nothing is written.
    pub dry_run: bool,
}

/// Brings a file into the gateway.
pub fn import(api: &AdminApi, path: &Path, options: Options) -> Exit {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match run(api, path, options, now) {
        Ok(()) => Exit::Success,
        Err(stop) => stop.exit(),
    }
}

fn run(api: &AdminApi, path: &Path, options: Options, now: u64) -> Result<(), Stop> {
    let contents = verify(path)?;
    eprintln!(
        "{}: {} entities of revision {} of cluster {}, written by weir {}",
        path.display(),
        grouped(contents.entities),
        contents.header.revision,
        contents.header.cluster,
        contents.header.weir
    );
    let survey = Surveyor::new(api, now, options.dry_run).run(path)?;
    if let Some(conflicts) = survey.conflicts().filter(|_| !options.overwrite) {
        return Err(Stop::Change(conflicts));
    }
    if options.dry_run {
        foretell(&survey);
        return Ok(());
    }
    let components = Components::read(api)?;
    let mut import = Import {
        api,
        now,
        overwrite: options.overwrite,
        total: contents.entities,
        components,
        target: Target::new(api),
        batch: Batch::default(),
        upload: None,
        deactivate: Vec::new(),
        kept: 0,
        written: 0,
        revision: None,
        told: Instant::now(),
    };
    let done = import.all(path);
    import.finish(&contents, &survey, done)
}

fn foretell(survey: &Survey) {
    eprintln!(
        "dry run, nothing was written: {} entities are new, {} are there and equal, {} would be replaced, {} have expired",
        grouped(survey.new),
        grouped(survey.equal),
        grouped(survey.differing),
        grouped(survey.expired)
    );
    if survey.judged {
        eprintln!("the gateway would take what is new");
    } else {
        eprintln!(
            "the gateway was not asked whether it would take what is new: that is too much for one transaction, or needs components that it does not have"
        );
    }
}

/// A component whose bytes are being read.
struct Upload {
    line: u64,
    component: Entity,
    bytes: Vec<u8>,
}

struct Import<'a> {
    api: &'a AdminApi,
    now: u64,
    overwrite: bool,
    total: u64,
    components: Components<'a>,
    target: Target<'a>,
    /// Not sent yet.
    batch: Batch,
    upload: Option<Upload>,
    /// Versions that shall not serve and do, until those that serve instead are there.
    deactivate: Vec<(u64, Entity)>,
    /// Entities that are there, or have expired.
    kept: u64,
    written: u64,
    revision: Option<u64>,
    told: Instant,
}

impl Import<'_> {
    fn all(&mut self, path: &Path) -> Result<(), Stop> {
        let mut reader = open(path)?;
        while let Some(line) = next(&mut reader, path)? {
            if let Line::Bytes(bytes) = line {
                if let Some(upload) = &mut self.upload {
                    upload.bytes.extend(bytes);
                }
                continue;
            }
            self.upload()?;
            match line {
                Line::Entity(entity) if entity.kind == Kind::Component => self.component(reader.number(), entity)?,
                Line::Entity(entity) => self.entity(reader.number(), &entity)?,
                Line::Header(_) | Line::Bytes(_) | Line::End(_) => {}
            }
        }
        self.deactivate()?;
        self.send()
    }

    fn entity(&mut self, line: u64, entity: &Entity) -> Result<(), Stop> {
        self.deactivate()?;
        if expired(entity, self.now) {
            self.kept += 1;
            return Ok(());
        }
        let body = present(entity, self.now);
        let there = self.target.find(entity)?;
        let new = there.is_none();
        // What differs and may not be replaced is, as the survey has asked, what the gateway makes of it.
        if there.is_some_and(|there| !self.overwrite || differences(&body, &there).is_empty()) {
            self.kept += 1;
            return Ok(());
        }
        let operation = Operation::put(line, entity.kind, entity.id, body, new);
        if !self.batch.fits(&operation) {
            self.send()?;
        }
        self.batch.push(operation);
        Ok(())
    }

    fn send(&mut self) -> Result<(), Stop> {
        let operations = self.batch.take();
        if operations.is_empty() {
            return Ok(());
        }
        let revision = batch::write(self.api, &operations)?;
        self.revision = revision.or(self.revision);
        self.written += operations.len() as u64;
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            eprintln!("{}", self.progress());
        }
        Ok(())
    }

    fn component(&mut self, line: u64, component: Entity) -> Result<(), Stop> {
        match self.components.standing(&component) {
            Standing::Equal => self.kept += 1,
            Standing::Differs(_) if !self.overwrite => self.kept += 1,
            Standing::OtherBytes => self.kept += 1,
            Standing::New | Standing::Differs(_) if !self.components.has(&component) => {
                self.upload = Some(Upload { line, component, bytes: Vec::new() });
            }
            Standing::New | Standing::Unset | Standing::Differs(_) => {
                let serves = is_active(&component.body);
                self.components.set(line, &component, serves)?;
                self.written += 1;
                if !serves {
                    self.deactivate.push((line, component));
                }
            }
        }
        Ok(())
    }

    fn upload(&mut self) -> Result<(), Stop> {
        let Some(Upload { line, component, bytes }) = self.upload.take() else { return Ok(()) };
        self.components.upload(line, &component, &bytes)?;
        self.written += 1;
        Ok(())
    }

    fn deactivate(&mut self) -> Result<(), Stop> {
        for (line, component) in std::mem::take(&mut self.deactivate) {
            self.components.set(line, &component, true)?;
        }
        Ok(())
    }

    fn progress(&self) -> String {
        let revision = self.revision.map(|revision| format!("; revision {revision}")).unwrap_or_default();
        format!("{} of {} entities{revision}", grouped(self.kept + self.written), grouped(self.total))
    }

    fn finish(&self, contents: &Contents, survey: &Survey, done: Result<(), Stop>) -> Result<(), Stop> {
        eprintln!("{}", self.progress());
        done?;
        let foreseen = survey.equal + survey.expired + if self.overwrite { self.kept } else { 0 };
        if self.kept > foreseen || self.kept + self.written < contents.entities {
            return Err(Stop::Again(
                "others have changed entities of the file meanwhile; the same command compares anew".to_owned(),
            ));
        }
        eprintln!(
            "all of it is there: {} were written, {} were there, {} have expired. What the gateway has besides was left as it is",
            grouped(self.written),
            grouped(self.kept.saturating_sub(survey.expired)),
            grouped(survey.expired)
        );
        Ok(())
    }
}
