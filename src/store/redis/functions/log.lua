#!lua name=qunliu_@VERSION@

-- What must be atomic in a group's log (dataflow.md, "One append"; epochs.md, "Rules").
-- The text is loaded under a name that carries its digest, so that two versions of the server
-- can run side by side. All keys of a call share one hash tag.
--
-- Keys of a group, in the order of every call that takes them all:
--   s  the stream, ids <epoch>-<seq>; fields m (fixed part, see META), c (C), o (O), b (JSON), and
--      t (trace) if the append named one
--   h  the head, HEAD
--   o  sender -> own total (O), and the field "all" as proof that nobody is missing
--   d0, d1  memory of client_ids: sender and client_id -> REMEMBERED, and the field "from"
-- Keys of a partition:
--   ann  the highest epoch announced
--   a    groups with events that some consumer has not handled
--   i    groups by the time at which they count as idle
--   b    what the message store confirmed: n, the number of the newest confirmation; and suspect,
--        while it is found to be older than that: the epoch that was announced then
-- Of a group, for cards:
--   e  the epoch table as of the opening, "<epoch> <start> <count>;" for each row
--   l  mentions of all, "<when it was begun> <position>/<who> ..."
-- Of a person:
--   c  the card: v version, hold and n until when it is not filled since so many changes are under
--      way, mark the same for read marks; and once filled id the history it was filled under, u the
--      person, g:<group> the membership, r:<group> the read mark, m:<group> the mentions above it,
--      b:<group> the number of a mark that is under way, o:<group> the highest read mark that was made,
--      while r is not as high
--
-- HEAD, one text (a hash of the same costs an append 5 us more): position, C, position of the
-- last change of rights, time, stored position, number of the younger memory.
-- META, 73 bytes: kind 1, sender 16, client_id 16, digest 16, time 8, message id 16.
-- REMEMBERED: the last 40 bytes of META, then "<position> <C>" as text.
-- from: "<position> <milliseconds>": the memory holds all above the position, begun at the time.

local S, H, O, D0, D1, ANN, DIRTY, E = 1, 2, 3, 4, 5, 6, 7, 8

-- A memory is kept for 10 minutes at least, and until all in it is stored.
local MEMORY_MS = 600000
-- What stays in a stream for those who resume: the newest events, so many or so many bytes.
local LIVE_EVENTS, LIVE_BYTES = 300, 262144
-- How much more gathers before the rest is cut off: a cut rings whoever follows the stream.
local SLACK_EVENTS = 256
-- When a group that could not be emptied is looked at again.
local LATER_MS = 60000
-- How long the server's own history id is believed (epochs.md rule 1).
local HISTORY_MS = 100
-- Lua hands at most some 8,000 values to one call.
local CHUNK = 1000

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function decimal(number)
  return string.format('%.0f', number)
end

-- Positions -------------------------------------------------------------------------------

local function parts(pos)
  local epoch, seq = string.match(pos, '^(%d+)%-(%d+)')
  return tonumber(epoch), tonumber(seq)
end

local function is_below(a, b)
  local a_epoch, a_seq = parts(a)
  local b_epoch, b_seq = parts(b)
  return a_epoch < b_epoch or (a_epoch == b_epoch and a_seq < b_seq)
end

-- History ---------------------------------------------------------------------------------

local known = { id = nil, at = 0 }

-- A replica carries the id of its master, so only a master's word counts.
local function true_history(now)
  local info = redis.call('INFO', 'replication')
  local is_master = string.find(info, 'role:master', 1, true)
  known.id = is_master and string.match(info, 'master_replid:(%x+)') or nil
  known.at = now
  return known.id
end

local function known_history(now)
  local age = now - known.at
  if known.id and age >= 0 and age <= HISTORY_MS then
    return known.id
  end
  return true_history(now)
end

local function other_history(id)
  return { 'history', id or 'replica' }
end

-- The head --------------------------------------------------------------------------------

local function parse_head(text)
  local pos, c, mv, at, w, y = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  return { pos = pos, c = c, mv = mv, at = at, w = w, y = y }
end

local function read_head(key)
  local text = redis.call('GET', key)
  return text and parse_head(text)
end

local function write_head(key, head)
  redis.call('SET', key, head.pos .. ' ' .. head.c .. ' ' .. head.mv .. ' ' .. head.at .. ' '
    .. head.w .. ' ' .. head.y)
end

-- What a member's unread count is made of: the head, the proof that nobody is missing among the
-- own totals, and the member's own.
-- keys: h, o; args: member
local function counted(keys, args)
  local own = redis.call('HMGET', keys[2], 'all', args[1])
  return { redis.call('GET', keys[1]), own[1], own[2] }
end

