//! What the client asks for, and the answers.

use anyhow::Context as _;

use super::{
    account::{DEVICE, is_bot},
    delivery, linking,
    nodes::{Node, attr, bare, child, children, content, is_group, node, now},
    world::World,
};

/// The answer to a query, and what is said because of it.
pub(super) fn answers(world: &mut World, number: usize, query: &Node) -> Vec<Node> {
    let (namespace, kind) = (attr(query, "xmlns"), attr(query, "type"));
    let asked = children(query).first().map(|asked| asked.tag.to_string()).unwrap_or_default();
    let asked = format!("{namespace} {kind} {asked}");
    world.seen.queries.push(asked.trim_end().to_owned());
    let told = match namespace.as_str() {
        "encrypt" => keys(world, query),
        "usync" => Ok(people(world, query)),
        "w:g2" => groups(world, query),
        "md" => linking::asked(world, number, query),
        "w:m" => Ok(vec![world.media.connection()]),
        "w:sync:app:state" => Ok(settings(query)),
        "abt" => Ok(vec![node("props").build()]),
        "privacy" => Ok(vec![node("privacy").build()]),
        "passive" | "blocklist" | "w:p" | "urn:xmpp:whatsapp:dirty" => Ok(Vec::new()),
        _ => {
            world.seen.unknown.push(asked);
            Ok(Vec::new())
        }
    };
    let answer = node("iq").attr("id", attr(query, "id"));
    let to = attr(query, "to");
    let answer = answer.attr("from", if to.is_empty() { super::nodes::SERVICE.to_owned() } else { to });
    let mut answers = match told {
        Ok(told) if told.is_empty() => vec![answer.attr("type", "result").build()],
        Ok(told) => vec![answer.attr("type", "result").children(told).build()],
        Err(error) => {
            let text = error.to_string();
            let code = if text == "item-not-found" { "404" } else { "400" };
            let error = node("error").attr("code", code).attr("text", text).build();
            vec![answer.attr("type", "error").children([error]).build()]
        }
    };
    if namespace == "passive" && child(query, "active").is_some() {
        answers.extend(delivery::announce(world, number));
    }
    if namespace == "encrypt" && child(query, "list").is_some() {
        answers.extend(linking::share_key(world));
    }
    answers
}

/// Keys of devices.
fn keys(world: &mut World, query: &Node) -> anyhow::Result<Vec<Node>> {
    if child(query, "list").is_some() {
        world.account.take_keys(query)?;
        return Ok(Vec::new());
    }
    if child(query, "rotate").is_some() {
        world.account.rotate(query)?;
        return Ok(Vec::new());
    }
    if child(query, "count").is_some() {
        return Ok(vec![node("count").attr("value", world.account.keys_left().to_string()).build()]);
    }
    let Some(wanted) = child(query, "key") else { return Ok(Vec::new()) };
    let users = children(wanted).iter().map(|user| {
        let address = attr(user, "jid");
        match world.people.get_mut(&address) {
            Some(person) => person.phone.bundle(&address),
            None if is_bot(&address) => world.account.phone.bundle(&address),
            None => {
                let error = node("error").attr("code", "404").attr("text", "item-not-found").build();
                node("user").attr("jid", address).children([error]).build()
            }
        }
    });
    let users: Vec<Node> = users.collect();
    Ok(vec![node("list").children(users).build()])
}

/// People and their devices.
fn people(world: &World, query: &Node) -> Vec<Node> {
    let Some(asked) = child(query, "usync") else { return Vec::new() };
    let wanted = |what: &str| child(asked, "query").is_some_and(|query| child(query, what).is_some());
    let users = child(asked, "list").map(children).unwrap_or_default().iter().map(|user| {
        let contact = child(user, "contact").map(content).unwrap_or_default();
        let number = String::from_utf8_lossy(&contact).trim_start_matches('+').to_owned();
        let address = match attr(user, "jid") {
            address if address.is_empty() => format!("{number}@s.whatsapp.net"),
            address => bare(&address),
        };
        let person = world.people.get(&address);
        let mut told = Vec::new();
        if wanted("contact") {
            let known = if person.is_some() || is_bot(&address) { "in" } else { "out" };
            told.push(node("contact").attr("type", known).build());
        }
        if wanted("lid")
            && let Some(person) = person
        {
            told.push(node("lid").attr("val", person.lid.as_str()).build());
        }
        if wanted("devices") {
            let mut devices = vec![node("device").attr("id", "0").build()];
            let mut lists = Vec::new();
            if is_bot(&address) {
                let (id, index) = (DEVICE.to_string(), DEVICE.to_string());
                devices.push(node("device").attr("id", id).attr("key-index", index).build());
                let list = node("key-index-list").attr("ts", now().to_string());
                lists.push(list.bytes(world.account.device_list()).build());
            }
            lists.insert(0, node("device-list").attr("hash", "2:fake").children(devices).build());
            told.push(node("devices").children(lists).build());
        }
        node("user").attr("jid", address).children(told).build()
    });
    vec![node("usync").children([node("list").children(users).build()]).build()]
}

/// One group, or all that the account is in.
fn groups(world: &World, query: &Node) -> anyhow::Result<Vec<Node>> {
    let to = attr(query, "to");
    if is_group(&to) && to != "@g.us" {
        let group = world.people.groups.get(&to).filter(|group| group.bot_is_in).context("item-not-found")?;
        return Ok(vec![world.people.group_node(&to, group)]);
    }
    let groups = world.people.groups.iter().filter(|(_, group)| group.bot_is_in);
    let groups = groups.map(|(address, group)| world.people.group_node(address, group));
    Ok(vec![node("groups").children(groups).build()])
}

/// The account's settings: there are none.
fn settings(query: &Node) -> Vec<Node> {
    let asked = child(query, "sync").map(children).unwrap_or_default();
    let collections =
        asked.iter().map(|asked| node("collection").attr("name", attr(asked, "name")).attr("version", "0").build());
    vec![node("sync").children(collections).build()]
}
