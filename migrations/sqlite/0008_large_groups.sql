-- Whether a group has another owner is asked whenever one goes, and a group may have very many
-- members. 40 is the code of the role of owners; the index holds all that is asked, or SQLite would
-- rather walk the members.

CREATE INDEX members_owners ON members (merchant_id, group_id, role, joined_epoch) WHERE role = 40;

-- What is not appended yet is looked for every two seconds, among all that ever was.

CREATE INDEX outbox_unappended ON outbox (decision) WHERE epoch IS NULL;
