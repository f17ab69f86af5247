//! What Redis was told of the message store, beside the logs that rest on it: [`Witness`].

use async_trait::async_trait;
use redis::{Value, cmd};

use super::keys;
use super::library::Function;
use super::links::HomeCall;
use super::log::RedisLog;
use super::reply::{at, list, number};
use super::topology::shard::Lane;
use super::walk::all_keys;
use crate::model::id::{GroupId, Partition};
use crate::store::Result;
use crate::store::witness::{Told, Witness};

#[async_trait]
impl Witness for RedisLog {
    async fn told(&self, partitions: &[Partition]) -> Result<Vec<Option<Told>>> {
        let reads: Vec<HomeCall> = partitions.iter().flat_map(|p| reads(*p)).collect();
        let answers = self.links.all(Lane::Reads, &reads).await?;
        let pairs = answers.as_chunks::<2>().0.iter();
        pairs.map(|pair| told(pair).map(Some)).collect()
    }

    async fn tell(&self, confirmed: &[(Partition, u64)]) -> Result<bool> {
        let call = |(partition, batch): &(Partition, u64)| {
            let key = [keys::witness(*partition)];
            let mut call = self.links.library.call(Function::Tell, &key);
            call.arg(*batch);
            ((*partition).into(), call)
        };
        let calls: Vec<HomeCall> = confirmed.iter().map(call).collect();
        let answers = self.links.all(Lane::Reads, &calls).await?;
        let taken = answers.iter().map(|answer| Ok(number(answer)? == 1));
        Ok(taken
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .all(|taken| taken))
    }

    async fn suspect(&self, partition: Partition) -> Result<()> {
        let keys = [keys::witness(partition), keys::announced(partition)];
        let call = self.links.library.call(Function::Suspect, &keys);
        self.links.call(Lane::Reads, partition, &call).await?;
        Ok(())
    }

    async fn settle(&self, partition: Partition, batch: u64) -> Result<()> {
        let key = [keys::witness(partition)];
        let mut call = self.links.library.call(Function::Settle, &key);
        call.arg(batch);
        self.links.call(Lane::Reads, partition, &call).await?;
        Ok(())
    }

    async fn groups(&self, partitions: &[Partition]) -> Result<Vec<GroupId>> {
        let heads = all_keys(&self.links, "h{*").await?;
        let groups = heads.iter().filter_map(|key| keys::group_of_head(key));
        let mut groups: Vec<GroupId> = groups
            .filter(|group| partitions.contains(&group.partition()))
            .collect();
        groups.sort_unstable();
        groups.dedup();
        Ok(groups)
    }
}

fn reads(partition: Partition) -> [HomeCall; 2] {
    let mut witness = cmd("HMGET");
    witness
        .arg(keys::witness(partition))
        .arg("n")
        .arg("suspect");
    let mut announced = cmd("GET");
    announced.arg(keys::announced(partition));
    [(partition.into(), witness), (partition.into(), announced)]
}

fn told([witness, announced]: &[Value; 2]) -> Result<Told> {
    let witness = list(witness)?;
    Ok(Told {
        epoch: optional(announced)?.unwrap_or_default(),
        batch: optional(at(witness, 0)?)?.unwrap_or_default(),
        suspect: optional(at(witness, 1)?)?,
    })
}

fn optional(value: &Value) -> Result<Option<u64>> {
    match value {
        Value::Nil => Ok(None),
        value => number(value).map(Some),
    }
}
