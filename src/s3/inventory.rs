//! Inventory configurations: put, get, delete, and listed in pages.
//!
//! What is stored is obeyed by `upkeep::inventory`. The reports go to a bucket of the same account: a destination that
//! is not there, or belongs to somebody else, is refused alike, so that nobody learns what others have. May use
//! `codec::xml`, `object::registry::settings`.

use std::ops::Bound;

use http::StatusCode;

use super::authorize;
use super::error::{Code, Result, S3Error};
use super::facts::Said;
use super::response::{Reply, empty, xml};
use super::route::Operation;
use super::service::Call;
use crate::base::limits::INVENTORIES_LISTED_MAX;
use crate::codec::xml::{Configuration, Inventory, XmlWriter};
use crate::object::registry::buckets::Bucket;
use crate::object::registry::settings::{Kind, Setting, SettingId};

pub(super) async fn inventory(operation: Operation, call: Call<'_>) -> Result<Reply> {
    let bucket = call.edge.store.settings(call.bucket)?;
    let id = call.query.get("id").unwrap_or("").to_owned();
    match operation {
        Operation::ListBucketInventoryConfigurations => list(&call, &bucket),
        Operation::PutBucketInventoryConfiguration => put(call, &id).await,
        Operation::GetBucketInventoryConfiguration => Ok(xml(found(&bucket, &id)?.render())),
        Operation::DeleteBucketInventoryConfiguration => {
            found(&bucket, &id)?;
            for kind in [Kind::InventoryRun, Kind::Inventory] {
                let id = SettingId { kind, name: id.clone() };
                call.edge.store.remove_setting(call.bucket, id).await?;
            }
            Ok(empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Code::NotImplemented.into()),
    }
}

fn found<'b>(bucket: &'b Bucket, id: &str) -> Result<&'b Inventory> {
    let found = bucket.settings.inventories.get(id);
    found.map(|inventory| &**inventory).ok_or_else(|| Code::NoSuchConfiguration.into())
}

async fn put(mut call: Call<'_>, id: &str) -> Result<Reply> {
    let promise = call.promise()?;
    let document = call.document(promise).await?;
    let inventory = Inventory::parse(&document)?;
    if inventory.id != id {
        let message = "The id of the document is not that of the request";
        return Err(S3Error::argument("id", id, message));
    }
    authorize::admit_said(&call, Said::InventoryFields(&inventory.fields)).await?;
    check_destination(&call, &*call.edge.store.settings(call.bucket)?, &inventory)?;
    call.edge.store.set_setting(call.bucket, Setting::Inventory(inventory)).await?;
    Ok(empty(StatusCode::OK))
}

/// Whether the destination lets reports in is no matter of the configuration: its policy may come later, change and go.
/// Each report asks it, and one that is kept out is counted, told in the log and tried again.
fn check_destination(call: &Call<'_>, bucket: &Bucket, inventory: &Inventory) -> Result<()> {
    let store = &call.edge.store;
    let owner = &bucket.value.owner;
    let found = store.settings(inventory.destination()).ok().filter(|found| found.value.owner == *owner);
    let account = store.identities().account_of_canonical(owner);
    let is_named =
        inventory.account.as_ref().is_none_or(|named| account.is_some_and(|found| found.id == *named));
    match found.is_some() && is_named {
        true => Ok(()),
        false => Err(Code::InvalidS3DestinationBucket.into()),
    }
}

fn list(call: &Call<'_>, bucket: &Bucket) -> Result<Reply> {
    let token = call.query.get("continuation-token");
    let after = token.map(|token| call.edge.tokens.open(call.bucket, token)).transpose()?;
    let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = bucket.settings.inventories.range::<str, _>((start, Bound::Unbounded));
    let page: Vec<&Inventory> =
        rest.by_ref().take(INVENTORIES_LISTED_MAX).map(|(_, inventory)| &**inventory).collect();
    let next = page.last().filter(|_| rest.next().is_some());
    let next = next.map(|inventory| call.edge.tokens.seal(call.bucket, &inventory.id));
    let mut w = XmlWriter::new();
    w.open_root("ListInventoryConfigurationsResult");
    w.optional("ContinuationToken", token);
    for inventory in page {
        w.open("InventoryConfiguration");
        inventory.write(&mut w);
        w.close("InventoryConfiguration");
    }
    w.boolean("IsTruncated", next.is_some());
    w.optional("NextContinuationToken", next.as_deref());
    w.close("ListInventoryConfigurationsResult");
    Ok(xml(w.finish()))
}
