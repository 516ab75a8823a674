//! What a test commands: people do something, or something goes wrong.

use super::{
    FakeTelegram,
    faults::{Fault, Refusal},
    files::File,
    said::Said,
    world::World,
};

/// What people do. The bot is told, unless it is not in that chat.
impl FakeTelegram {
    /// Somebody writes; returns the message's id, or 0 where the bot is not and so hears nothing. In a private chat, `chat` and `user` are the
    /// same. Who writes in the name of a group has its id as `user`.
    pub fn say(&self, chat: i64, user: i64, text: &str) -> i32 {
        self.say_more(chat, user, Said::text(text))
    }

    /// The same with more than a text.
    pub fn say_more(&self, chat: i64, user: i64, said: Said) -> i32 {
        self.change(|world| world.say(chat, user, said))
    }

    /// The same with a file.
    pub fn say_file(&self, chat: i64, user: i64, text: &str, file: File) -> i32 {
        self.say_more(chat, user, Said::text(text).file(file))
    }

    /// Somebody changes what they wrote.
    pub fn edit(&self, chat: i64, message: i32, text: &str) {
        self.change(|world| world.edit(chat, message, text));
    }

    /// Somebody removes messages.
    pub fn delete(&self, chat: i64, messages: &[i32]) {
        self.change(|world| world.delete(chat, messages));
    }

    /// Somebody gives a group another title.
    pub fn rename(&self, chat: i64, by: i64, title: &str) {
        self.change(|world| world.rename(chat, by, title));
    }

    /// Somebody adds the bot to a group, which is there then.
    pub fn add_bot(&self, chat: i64, by: i64) {
        self.change(|world| world.change_bot(chat, by, true));
    }

    /// Somebody removes the bot from a group.
    pub fn remove_bot(&self, chat: i64, by: i64) {
        self.change(|world| world.change_bot(chat, by, false));
    }

    /// Somebody comes to a group.
    pub fn add_member(&self, chat: i64, user: i64) {
        self.change(|world| world.change_member(chat, user, true));
    }

    /// Somebody leaves a group.
    pub fn remove_member(&self, chat: i64, user: i64) {
        self.change(|world| world.change_member(chat, user, false));
    }

    /// Somebody lets the bot write to them no more, or again.
    pub fn block(&self, user: i64, blocks: bool) {
        self.change(|world| world.block(user, blocks));
    }

    /// A basic group becomes a supergroup; returns that one's id, or `None` when it is no basic group.
    pub fn upgrade(&self, chat: i64, by: i64) -> Option<i64> {
        self.change(|world| world.upgrade(chat, by))
    }

    /// News of any kind, as the bytes of an `Updates`.
    pub fn push(&self, updates: Vec<u8>) {
        self.change(|world| world.pushes.add(updates));
    }
}

/// What goes wrong.
impl FakeTelegram {
    /// The next call of `method`, as `messages.sendMessage`, goes wrong; those after it by what was said later.
    pub fn fail_next(&self, method: &str, fault: Fault) {
        self.change(|world| world.faults.add(method, None, fault));
    }

    /// The same with the next call about this chat, which goes before faults of any chat.
    pub fn fail_next_in(&self, method: &str, chat: i64, fault: Fault) {
        self.change(|world| world.faults.add(method, Some(chat), fault));
    }

    /// Answers that are slow or stuck are let go.
    pub fn release(&self) {
        self.state.released.send_modify(|count| *count += 1);
    }

    /// From now on news wait.
    pub fn hold_pushes(&self) {
        self.change(|world| world.pushes.hold());
    }

    /// News that waited go, and later ones do not wait.
    pub fn release_pushes(&self) {
        self.change(|world| world.pushes.release(false));
    }

    /// The same, the latest first.
    pub fn release_pushes_reversed(&self) {
        self.change(|world| world.pushes.release(true));
    }

    /// News that waited are never told: the client finds a gap, or asks for the difference by itself. Later ones do not wait.
    pub fn lose_pushes(&self) {
        self.change(|world| world.pushes.lose());
    }

    /// The latest news are told once more.
    pub fn push_again(&self) {
        self.change(|world| world.pushes.again());
    }

    /// From now on a difference has at most so many changes, and says when there are more.
    pub fn slice_differences(&self, at_most: usize) {
        self.change(|world| world.slice = at_most);
    }

    /// What happened until now is forgotten: who missed it is told that the difference is too long.
    pub fn forget_changes(&self) {
        self.change(World::forget_changes);
    }

    /// References to files that were told until now are not taken any more; those of messages that are fetched again are.
    pub fn expire_file_references(&self) {
        self.change(|world| world.files.expire_references());
    }

    /// The next `count` connections are closed as soon as they are opened; with `usize::MAX` all, until this is called with 0.
    pub fn refuse_connections(&self, count: usize) {
        self.change(|world| world.refusing = count);
    }

    /// Open connections are dropped without a word.
    pub fn drop_connections(&self) {
        // Without connections there is nobody who could be dropped.
        let _ = self.state.kicks.send(());
    }

    /// The client is signed out: calls are refused with 401 and this name, as `SESSION_REVOKED` or `AUTH_KEY_UNREGISTERED`, or with 406 and
    /// `AUTH_KEY_DUPLICATED`, when another program used its key, until it signs in again.
    pub fn log_out(&self, name: &str) {
        self.change(|world| {
            world.access.signed_in = false;
            let code = if name == "AUTH_KEY_DUPLICATED" { 406 } else { 401 };
            world.access.logged_out = Some(Refusal::new(code, name));
        });
    }

    /// Every call is refused with 401 and this name, as `USER_DEACTIVATED_BAN`; signing in as well.
    pub fn ban(&self, name: &str) {
        self.change(|world| world.access.banned = Some(Refusal::new(401, name)));
    }

    /// The ban is over.
    pub fn unban(&self) {
        self.change(|world| world.access.banned = None);
    }

    /// From now on the bot's token is not taken, though it is right; who is signed in stays so.
    pub fn revoke_token(&self) {
        self.change(|world| world.access.token_is_revoked = true);
    }

    /// From now on the key is not known: whoever uses it is told −404.
    pub fn forget_key(&self) {
        self.change(|world| world.access.key_is_forgotten = true);
    }

    /// From now on the key is known again.
    pub fn remember_key(&self) {
        self.change(|world| world.access.key_is_forgotten = false);
    }
}
