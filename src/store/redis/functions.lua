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

-- Append ----------------------------------------------------------------------------------

-- The younger memory and the older one.
local function memories(keys, young)
  if young == '1' then
    return keys[D1], keys[D0]
  end
  return keys[D0], keys[D1]
end

-- Whether the memory holds every append after `again`, the head known at a first try.
local function reaches(again, epoch, from)
  local again_epoch, again_seq = parts(again)
  local _, from_seq = parts(from)
  return again_epoch == epoch and again_seq >= from_seq
end

-- Why an append is refused, or the receipt that it repeats; nil if it may be written.
local function answer_without_append(args, epoch, head, hit, young_from, old)
  if args[3] ~= '' and is_below(args[3], head.mv) then
    return { 'rights', head.mv }
  end
  local hit_pos = hit and string.match(hit, '^%d+%-%d+', 41)
  if hit and hit_pos ~= args[5] then
    if string.sub(hit, 1, 16) == string.sub(args[9], 34, 49) then
      return { 'repeated', hit, head.w }
    end
    return { 'conflict', hit_pos }
  end
  if args[4] == 'append' then
    return nil
  end
  local from = redis.call('HGET', old, 'from') or young_from
  if args[4] == 'ask' or not reaches(args[4], epoch, from) then
    return { 'ask' }
  end
end

-- Counts a message of a sender, or only reads the total; nil if the totals are lost.
local function count_own(key, sender, is_counted)
  local own = is_counted and redis.call('HINCRBY', key, sender, 1)
    or tonumber(redis.call('HGET', key, sender) or 0)
  if own > 1 or redis.call('HEXISTS', key, 'all') == 1 then
    return own
  end
  redis.call('UNLINK', key)
end

-- Where to remember the next append: the older memory takes over as the younger, emptied, when
-- the younger is old enough and all that the older holds is stored. `head` is the one before.
local function turn_memory(head, young, old, young_from, now)
  local from, began = string.match(young_from, '^(%S+) (%d+)$')
  if now - tonumber(began) <= MEMORY_MS then
    return young
  end
  if redis.call('EXISTS', old) == 1 and is_below(head.w, from) then
    return young
  end
  redis.call('UNLINK', old)
  redis.call('HSET', old, 'from', head.pos .. ' ' .. decimal(now))
  head.y = head.y == '1' and '0' or '1'
  return old
end

-- args: history, epoch, rights or '', 'append' | 'ask' | a position, position to replace or '',
-- counted, changes rights, time, META, JSON, group, trace or '', full
local function append(keys, args)
  local now = now_ms()
  local id = known_history(now)
  if id ~= args[1] then
    return other_history(id)
  end
  local epoch = tonumber(args[2])
  local read = redis.call('MGET', keys[H], keys[ANN])
  local head = read[1] and parse_head(read[1])
  local open = head and parts(head.pos)
  if tonumber(read[2] or 0) > epoch or (open and open > epoch) then
    return { 'stale' }
  end
  if open ~= epoch then
    return { 'closed' }
  end
  local meta = args[9]
  local key = string.sub(meta, 2, 33)
  local young, old = memories(keys, head.y)
  local recent = redis.call('HMGET', young, key, 'from')
  if not recent[2] then
    return { 'closed' }
  end
  local hit = recent[1] or redis.call('HGET', old, key)
  local answer = answer_without_append(args, epoch, head, hit, recent[2], old)
  if answer then
    return redis.call('EXISTS', keys[S], keys[O]) == 2 and answer or { 'closed' }
  end
  local is_counted = args[6] == '1'
  if is_counted and args[13] == '1' then
    return { 'full' }
  end
  local sender = string.sub(meta, 2, 17)
  local own = count_own(keys[O], sender, is_counted)
  if not own then
    return { 'closed' }
  end
  local count = is_counted and decimal(tonumber(head.c) + 1) or head.c
  local fields = { 'm', meta, 'c', count, 'o', own, 'b', args[10] }
  if args[12] ~= '' then
    fields[9], fields[10] = 't', args[12]
  end
  local pos = redis.pcall('XADD', keys[S], 'NOMKSTREAM', args[2] .. '-*', unpack(fields))
  if type(pos) ~= 'string' then
    if is_counted then
      redis.call('HINCRBY', keys[O], sender, -1)
    end
    if not pos then
      return { 'closed' }
    end
    return string.find(pos.err, 'equal or smaller', 1, true) and { 'stale' } or pos
  end
  local memory = turn_memory(head, young, old, recent[2], now)
  redis.call('HSET', memory, key, string.sub(meta, 34) .. pos .. ' ' .. count)
  head.pos, head.c, head.at = pos, count, args[8]
  head.mv = args[7] == '1' and pos or head.mv
  write_head(keys[H], head)
  redis.call('SADD', keys[DIRTY], args[11])
  return { 'appended', pos, count, head.w }
end

-- Re-opening ------------------------------------------------------------------------------

local function announced(keys)
  return tonumber(redis.call('GET', keys[ANN]) or 0)
end

local function field(flat, name)
  for i = 1, #flat, 2 do
    if flat[i] == name then
      return flat[i + 1]
    end
  end
end

local function last_id(stream)
  if redis.call('EXISTS', stream) == 0 then
    return ''
  end
  return field(redis.call('XINFO', 'STREAM', stream), 'last-generated-id')
end

local function remembers(keys)
  local head = read_head(keys[H])
  if not head then
    return false
  end
  local young = memories(keys, head.y)
  return redis.call('HEXISTS', keys[O], 'all') == 1 and redis.call('HEXISTS', young, 'from') == 1
end

-- args: history, epoch
local function prepare(keys, args)
  local id = true_history(now_ms())
  if id ~= args[1] then
    return other_history(id)
  end
  local epoch = tonumber(args[2])
  if announced(keys) > epoch then
    return { 'stale' }
  end
  redis.call('SET', keys[ANN], args[2])
  return { 'ready', last_id(keys[S]), remembers(keys) and 1 or 0 }
end

-- Whether the opening is the one that was prepared, and the first under its epoch: a second one
-- would hand out positions twice (epochs.md rule 3).
local function is_expected(keys, history, epoch, top)
  if true_history(now_ms()) ~= history or announced(keys) ~= epoch then
    return false
  end
  local head = read_head(keys[H])
  local opened = head and parts(head.pos) or 0
  local top_epoch = top ~= '' and parts(top) or 0
  return last_id(keys[S]) == top and opened < epoch and top_epoch < epoch
end

-- A consumer without a place begins with whatever is still in the stream: effects are idempotent,
-- and what it skipped would be lost.
local function ensure_consumers(stream, names)
  local has = {}
  if redis.call('EXISTS', stream) == 1 then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      has[field(group, 'name')] = true
    end
  end
  for name in string.gmatch(names, '%S+') do
    if not has[name] then
      redis.call('XGROUP', 'CREATE', stream, name, '0', 'MKSTREAM')
    end
  end
end

local function set_own(key, args, first)
  redis.call('UNLINK', key)
  redis.call('HSET', key, 'all', '')
  for i = first, #args, CHUNK do
    redis.call('HSET', key, unpack(args, i, math.min(i + CHUNK - 1, #args)))
  end
end

-- Remembers what is still in the stream, newest first, so that of two entries under one key the
-- newer answers.
local function rebuild_memory(keys, from, now)
  redis.call('UNLINK', keys[D0], keys[D1])
  redis.call('HSET', keys[D0], 'from', from .. ' ' .. decimal(now))
  local upper = '+'
  repeat
    local entries = redis.call('XREVRANGE', keys[S], upper, '-', 'COUNT', CHUNK)
    for _, entry in ipairs(entries) do
      local meta, count = field(entry[2], 'm'), field(entry[2], 'c')
      local value = string.sub(meta, 34) .. entry[1] .. ' ' .. count
      redis.call('HSETNX', keys[D0], string.sub(meta, 2, 33), value)
      upper = '(' .. entry[1]
    end
  until #entries < CHUNK
end

-- args: history, epoch, start, C, time, stored, keep, expected top or '', group, consumers, epoch
-- table, then sender and own total for each who ever sent, unless the log keeps its own
local function open(keys, args)
  local epoch, keep = tonumber(args[2]), args[7] == '1'
  if not is_expected(keys, args[1], epoch, args[8]) or (keep and not remembers(keys)) then
    return 'no'
  end
  local below = args[2] .. '-' .. decimal(tonumber(args[3]) - 1)
  ensure_consumers(keys[S], args[10])
  redis.call('XSETID', keys[S], below)
  local head = read_head(keys[H])
  if keep then
    head.w = is_below(args[6], head.w) and head.w or args[6]
  else
    head = { w = args[6], y = '0' }
    set_own(keys[O], args, 12)
    rebuild_memory(keys, below, now_ms())
  end
  -- Changes of rights may be among what was lost: every permit is asked for again.
  head.pos, head.c, head.at, head.mv = below, args[4], args[5], below
  write_head(keys[H], head)
  redis.call('SET', keys[E], args[11])
  if redis.call('XLEN', keys[S]) > 0 then
    redis.call('SADD', keys[DIRTY], args[9])
  end
  return 'yes'
end

-- Whether the number of a confirmation is taken: not of a suspect message store, and none below one
-- that was told before.
local function takes(witness, confirmed)
  local known = redis.call('HMGET', witness, 'n', 'suspect')
  if known[2] or tonumber(known[1] or 0) > tonumber(confirmed) then
    return false
  end
  if known[1] ~= confirmed then
    redis.call('HSET', witness, 'n', confirmed)
  end
  return true
end

-- keys: h, b; args: position, number of the confirmation. Answers whether that was taken.
local function stored(keys, args)
  if not takes(keys[2], args[2]) then
    return 0
  end
  local head = read_head(keys[1])
  if head and is_below(head.w, args[1]) and not is_below(head.pos, args[1]) then
    head.w = args[1]
    write_head(keys[1], head)
  end
  return 1
end

-- The witness -----------------------------------------------------------------------------

-- keys: b; args: number. Answers whether it was taken.
local function tell(keys, args)
  return takes(keys[1], args[1]) and 1 or 0
end

-- keys: b, ann
local function suspect(keys)
  redis.call('HSETNX', keys[1], 'suspect', redis.call('GET', keys[2]) or 0)
end

-- keys: b; args: number
local function settle(keys, args)
  local known = tonumber(redis.call('HGET', keys[1], 'n') or 0)
  redis.call('HSET', keys[1], 'n', decimal(math.max(known, tonumber(args[1]))))
  redis.call('HDEL', keys[1], 'suspect')
end

-- Consumers -------------------------------------------------------------------------------

-- The consumers of a stream with how far they are: name, pending, and delivered, a position. Nil if
-- there is no stream.
local function progress(stream)
  local groups, consumers = redis.pcall('XINFO', 'GROUPS', stream), {}
  if groups.err then
    return nil
  end
  for i, group in ipairs(groups) do
    consumers[i] = {
      name = field(group, 'name'),
      pending = field(group, 'pending'),
      delivered = field(group, 'last-delivered-id'),
    }
  end
  return consumers
end

-- Whether all these consumers, who are so many if nobody is missing, have acknowledged everything
-- in the stream.
local function is_handled(stream, consumers, number)
  for _, consumer in ipairs(consumers) do
    if consumer.pending > 0 then
      return false
    end
  end
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  for _, consumer in ipairs(consumers) do
    if last and is_below(consumer.delivered, last[1]) then
      return false
    end
  end
  return #consumers >= number
end

-- Whether all consumers but this one were given what stands at a position.
local function is_known_to_others(consumers, name, pos)
  for _, consumer in ipairs(consumers) do
    if consumer.name ~= name and is_below(consumer.delivered, pos) then
      return false
    end
  end
  return true
end

-- The id after this one.
local function after(pos)
  local epoch, seq = parts(pos)
  return decimal(epoch) .. '-' .. decimal(seq + 1)
end

-- The first id that is still needed: not stored, or not handled by some consumer.
local function first_needed(stream, head, consumers, number)
  local needed = after(head.w)
  if #consumers < number then
    return '0-0'
  end
  for _, consumer in ipairs(consumers) do
    local first = consumer.pending > 0 and redis.call('XPENDING', stream, consumer.name)[2]
      or after(consumer.delivered)
    if is_below(first, needed) then
      needed = first
    end
  end
  return needed
end

-- The first id of the live window: the newest of what is stored, so that a message store that comes
-- back older than it was finds it here. Nil if nothing of it is in the stream.
local function first_live(stream, head)
  local first, bytes = nil, 0
  for _, entry in ipairs(redis.call('XREVRANGE', stream, head.w, '-', 'COUNT', LIVE_EVENTS)) do
    bytes = bytes + #field(entry[2], 'm') + #field(entry[2], 'b')
    if first and bytes > LIVE_BYTES then
      break
    end
    first = entry[1]
  end
  return first
end

-- Whether the message store is older than what it confirmed: then nothing leaves a stream.
local function is_suspect(witness)
  return redis.call('HEXISTS', witness, 'suspect') == 1
end

-- Cuts off what nobody needs and is too old for the live window. Never MAXLEN: it would drop what
-- is not handled. Keys are named as in ack.
local function trim(keys, consumers, number)
  local stream = keys[1]
  local length = redis.call('XLEN', stream)
  if length <= LIVE_EVENTS + SLACK_EVENTS
    and (length <= 1 or redis.call('MEMORY', 'USAGE', stream) <= 2 * LIVE_BYTES) then
    return
  end
  local head = read_head(keys[3])
  local live = head and not is_suspect(keys[5]) and first_live(stream, head)
  if not live then
    return
  end
  local needed = first_needed(stream, head, consumers, number)
  redis.call('XTRIM', stream, 'MINID', is_below(needed, live) and needed or live)
end

-- Only what all others know can be freed by it.
-- keys: s, a, h, i, b; args: consumer, number of consumers, group, milliseconds until it is idle,
-- positions, rising
local function ack(keys, args)
  for i = 5, #args, CHUNK do
    redis.call('XACK', keys[1], args[1], unpack(args, i, math.min(i + CHUNK - 1, #args)))
  end
  local consumers, number = progress(keys[1]), tonumber(args[2])
  if not consumers or is_handled(keys[1], consumers, number) then
    redis.call('SREM', keys[2], args[3])
    redis.call('ZADD', keys[4], decimal(now_ms() + tonumber(args[4])), args[3])
  end
  if consumers and args[5] and is_known_to_others(consumers, args[1], args[5]) then
    trim(keys, consumers, number)
  end
  return 1
end

-- Groups that may count as idle by now, the longest idle first.
-- keys: i; args: how many
local function idle(keys, args)
  return redis.call('ZRANGE', keys[1], '-inf', decimal(now_ms()), 'BYSCORE', 'LIMIT', 0, args[1])
end

-- Empties the stream of an idle group if all of it is handled and stored, and forgets client_ids:
-- all were remembered long enough. The stream keeps its last id and its consumers.
-- keys: s, h, d0, d1, i, b; args: number of consumers, group
local function empty(keys, args)
  local head, consumers = read_head(keys[2]), progress(keys[1])
  if not head or not consumers then
    redis.call('ZREM', keys[5], args[2])
    return 0
  end
  local last = redis.call('XREVRANGE', keys[1], '+', '-', 'COUNT', 1)[1]
  if not is_handled(keys[1], consumers, tonumber(args[1])) or (last and is_below(head.w, last[1]))
    or is_suspect(keys[6]) then
    redis.call('ZADD', keys[5], decimal(now_ms() + LATER_MS), args[2])
    return 0
  end
  if last then
    redis.call('XTRIM', keys[1], 'MINID', after(last[1]))
  end
  redis.call('UNLINK', keys[3], keys[4])
  redis.call('HSET', keys[3], 'from', head.pos .. ' ' .. decimal(now_ms()))
  head.y = '0'
  write_head(keys[2], head)
  redis.call('ZREM', keys[5], args[2])
  return 1
end

-- Takes over what others took and did not acknowledge, and removes those who hold nothing more:
-- one step, since an entry that is taken in between would go with its consumer.
-- keys: s, a; args: consumer, who takes over, group. Answers the positions whose entries are gone;
-- nil if the whole stream is.
local function claim(keys, args)
  if redis.call('EXISTS', keys[1]) == 0 then
    redis.call('SREM', keys[2], args[3])
    return nil
  end
  ensure_consumers(keys[1], args[1])
  local lost, cursor = {}, '0-0'
  repeat
    local claimed = redis.call('XAUTOCLAIM', keys[1], args[1], args[2], 0, cursor,
      'COUNT', CHUNK, 'JUSTID')
    cursor = claimed[1]
    for _, id in ipairs(claimed[3]) do
      lost[#lost + 1] = id
    end
  until cursor == '0-0'
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', keys[1], args[1])) do
    local name = field(consumer, 'name')
    if name ~= args[2] and field(consumer, 'pending') == 0 then
      redis.call('XGROUP', 'DELCONSUMER', keys[1], args[1], name)
    end
  end
  return lost
end

-- Leases ----------------------------------------------------------------------------------

-- Says that a process lives, for a while; a while of 0 ends it. Answers all that live.
-- keys: nodes; args: process, milliseconds
local function beat(keys, args)
  local now = now_ms()
  redis.call('ZADD', keys[1], decimal(now + tonumber(args[2])), args[1])
  redis.call('ZREMRANGEBYSCORE', keys[1], '-inf', decimal(now))
  return redis.call('ZRANGE', keys[1], 0, -1)
end

-- Takes or renews the leases of the wanted digits that are free, gives the others back. Answers
-- the digits held.
-- keys: owners; args: process, milliseconds, wanted digits
local function lease(keys, args)
  local now, held = now_ms(), ''
  for digit in string.gmatch('0123456789abcdef', '.') do
    local lease = redis.call('HGET', keys[1], digit) or ' 0'
    local owner, till = string.match(lease, '^(%S*) (%d+)$')
    local is_wanted = string.find(args[3], digit, 1, true)
    if is_wanted and (owner == args[1] or tonumber(till) <= now) then
      redis.call('HSET', keys[1], digit, args[1] .. ' ' .. decimal(now + tonumber(args[2])))
      held = held .. digit
    elseif owner == args[1] then
      redis.call('HDEL', keys[1], digit)
    end
  end
  return held
end

-- Cards -----------------------------------------------------------------------------------

-- How long a card is kept after it was filled; mentions of all a little longer.
local CARD_S, ALL_S = 86400, 90000
-- A change that is under way is over after this time.
local HOLD_MS = 30000
-- Mentions that are kept of a group; with more, cards are filled anew.
local MENTIONS_MAX = 100

-- Every change counts, so that a fill that read before it is refused. One counts from the time on
-- if the card was gone: a fill may have begun before it went.
local function next_version(key, now)
  if redis.call('HSETNX', key, 'v', decimal(now)) == 1 then
    redis.call('EXPIRE', key, CARD_S)
  end
  return redis.call('HINCRBY', key, 'v', 1)
end

-- The highest read marks that were made, as the fields that remember them: a message store that is
-- put back may have lost them (epochs.md rule 11).
local function made_marks(key)
  local fields, made = redis.call('HGETALL', key), {}
  for i = 1, #fields, 2 do
    local group, mark = string.match(fields[i], '^[ro]:(.+)$'), fields[i + 1]
    local name = group and 'o:' .. group
    if name and not (made[name] and is_below(mark, made[name])) then
      made[name] = mark
    end
  end
  return made
end

-- Takes everything off but what keeps it from being filled, and the marks that were made.
local function empty_card(key, now)
  local version = next_version(key, now)
  local kept = redis.call('HMGET', key, 'hold', 'n', 'mark')
  local made = made_marks(key)
  redis.call('UNLINK', key)
  redis.call('HSET', key, 'v', decimal(version), 'hold', kept[1] or 0, 'n', kept[2] or 0,
    'mark', kept[3] or 0)
  for name, mark in pairs(made) do
    redis.call('HSET', key, name, mark)
  end
  redis.call('EXPIRE', key, CARD_S)
end

-- A mark that is on the card again need not be remembered beside it, unless a higher one was made.
local function forget_made(key, group, mark)
  local made = redis.call('HGET', key, 'o:' .. group)
  if made and not is_below(mark, made) then
    redis.call('HDEL', key, 'o:' .. group)
  end
end

-- keys: c. Answers the version, and the fields of a card that may be relied on.
local function card(keys)
  local version = redis.call('HGET', keys[1], 'v') or '0'
  local id = redis.call('HGET', keys[1], 'id')
  if id and id == known_history(now_ms()) then
    return { version, redis.call('HGETALL', keys[1]) }
  end
  return { version }
end

-- keys: c; args: version, fields and values
local function fill(keys, args)
  local now = now_ms()
  local known = redis.call('HMGET', keys[1], 'v', 'hold', 'mark')
  local id = known_history(now)
  if not id or (known[1] or '0') ~= args[1] then
    return 0
  end
  if tonumber(known[2] or 0) > now or tonumber(known[3] or 0) > now then
    return 0
  end
  empty_card(keys[1], now)
  redis.call('HSET', keys[1], 'id', id)
  for i = 2, #args, CHUNK do
    redis.call('HSET', keys[1], unpack(args, i, math.min(i + CHUNK - 1, #args)))
  end
  for i = 2, #args, 2 do
    local group = string.match(args[i], '^r:(.+)$')
    if group then
      forget_made(keys[1], group, args[i + 1])
    end
  end
  return 1
end

-- keys: c. A change is under way.
local function hold(keys)
  local now = now_ms()
  empty_card(keys[1], now)
  local known = redis.call('HMGET', keys[1], 'hold', 'n')
  local others = tonumber(known[1]) > now and tonumber(known[2]) or 0
  redis.call('HSET', keys[1], 'hold', decimal(now + HOLD_MS), 'n', others + 1)
end

-- keys: c. A change is over.
local function let_go(keys)
  empty_card(keys[1], now_ms())
  local others = tonumber(redis.call('HGET', keys[1], 'n')) - 1
  if others > 0 then
    redis.call('HSET', keys[1], 'n', others)
  else
    redis.call('HSET', keys[1], 'hold', 0, 'n', 0)
  end
end

-- Remembers a mark that was made and is not on the card, as made_marks has it.
local function remember(key, group, mark)
  local known = redis.call('HMGET', key, 'v', 'o:' .. group)
  if mark and known[1] and (not known[2] or is_below(known[2], mark)) then
    redis.call('HSET', key, 'o:' .. group, mark)
  end
end

-- keys: c; args: group. A read mark is about to move: until it is told where to, nothing is counted
-- from the card. Answers the number under which that is told.
local function begin_mark(keys, args)
  local now = now_ms()
  local number = next_version(keys[1], now)
  remember(keys[1], args[1], redis.call('HGET', keys[1], 'r:' .. args[1]))
  redis.call('HDEL', keys[1], 'r:' .. args[1])
  redis.call('HSET', keys[1], 'b:' .. args[1], decimal(number), 'mark', decimal(now + HOLD_MS))
  return number
end

-- keys: c; args: group, number, mark as "<position> <C> <O>"
local function end_mark(keys, args)
  local group, mark = args[1], args[3]
  local known = redis.call('HMGET', keys[1], 'b:' .. group, 'v', 'm:' .. group, 'g:' .. group)
  if known[2] == args[2] then
    redis.call('HSET', keys[1], 'mark', 0)
  end
  local is_last = known[1] == args[2]
  if is_last then
    redis.call('HDEL', keys[1], 'b:' .. group)
  end
  if not is_last or not known[4] then
    remember(keys[1], group, mark)
    return 0
  end
  forget_made(keys[1], group, mark)
  local above = {}
  for pos in string.gmatch(known[3] or '', '%S+') do
    if is_below(mark, pos) then
      above[#above + 1] = pos
    end
  end
  redis.call('HSET', keys[1], 'r:' .. group, mark, 'm:' .. group, table.concat(above, ' '))
  return 1
end

-- Adds a word to a list of them unless it is there; nil if the list is full.
local function with(list, word)
  if string.find(' ' .. list .. ' ', ' ' .. word .. ' ', 1, true) then
    return list
  end
  local _, words = string.gsub(list, '%S+', '')
  if words < MENTIONS_MAX then
    return list == '' and word or (list .. ' ' .. word)
  end
end

-- keys: c; args: group, position
local function mention(keys, args)
  next_version(keys[1], now_ms())
  local known = redis.call('HMGET', keys[1], 'g:' .. args[1], 'm:' .. args[1])
  if not known[1] then
    return 0
  end
  local mentions = with(known[2] or '', args[2])
  if mentions then
    redis.call('HSET', keys[1], 'm:' .. args[1], mentions)
  else
    empty_card(keys[1], now_ms())
  end
  return 1
end

-- keys: l; args: position/who
local function mention_all(keys, args)
  local list = redis.call('GET', keys[1])
  local longer = list and with(list, args[1])
  if longer then
    redis.call('SET', keys[1], longer, 'KEEPTTL')
  elseif list then
    redis.call('UNLINK', keys[1])
  end
end

-- keys: l. Answers when the list was begun, which is now if there was none.
local function begin_all(keys)
  local list = redis.call('GET', keys[1])
  if not list then
    local time = redis.call('TIME')
    list = time[1] .. '.' .. time[2]
    redis.call('SET', keys[1], list)
  end
  redis.call('EXPIRE', keys[1], ALL_S)
  return string.match(list, '^%S+')
end

-- Presence --------------------------------------------------------------------------------

-- nodes: process -> until when it counts as alive. The people at a process are a set beside it.
local function people(node)
  return 'at{here}:' .. node
end

local function living(nodes)
  return redis.call('ZRANGE', nodes, '(' .. decimal(now_ms()), '+inf', 'BYSCORE')
end

-- Those of the users from the first on who are at none of the processes but `except`.
local function nowhere(users, first, nodes, except)
  local alone = {}
  for i = first, #users do
    local is_somewhere = false
    for _, node in ipairs(nodes) do
      if node ~= except and redis.call('SISMEMBER', people(node), users[i]) == 1 then
        is_somewhere = true
        break
      end
    end
    if not is_somewhere then
      alone[#alone + 1] = users[i]
    end
  end
  return alone
end

-- Says that a process lives, for a while. Answers whether it was known to.
-- keys: nodes; args: process, milliseconds
local function alive(keys, args)
  local now = now_ms()
  local till = tonumber(redis.call('ZSCORE', keys[1], args[1]) or '0')
  redis.call('ZADD', keys[1], decimal(now + tonumber(args[2])), args[1])
  return till > now and 1 or 0
end

-- Answers those of the users who were nowhere.
-- keys: nodes; args: process, users
local function arrive(keys, args)
  local own, new = people(args[1]), {}
  for _, user in ipairs(nowhere(args, 2, living(keys[1]), args[1])) do
    if redis.call('SISMEMBER', own, user) == 0 then
      new[#new + 1] = user
    end
  end
  redis.call('SADD', own, unpack(args, 2))
  return new
end

-- Answers those of the users who were here and are nowhere now.
-- keys: nodes; args: process, users
local function depart(keys, args)
  local own, left = people(args[1]), {}
  for i = 2, #args do
    if redis.call('SREM', own, args[i]) == 1 then
      left[#left + 1] = args[i]
    end
  end
  return nowhere(left, 1, living(keys[1]), args[1])
end

-- Takes people off one process that lives no more. Answers those who are nowhere now.
-- keys: nodes; args: how many
local function bury(keys, args)
  local dead = redis.call('ZRANGE', keys[1], '-inf', decimal(now_ms()), 'BYSCORE', 'LIMIT', 0, 1)[1]
  if not dead then
    return {}
  end
  local left = redis.call('SPOP', people(dead), args[1])
  if #left < tonumber(args[1]) then
    redis.call('ZREM', keys[1], dead)
  end
  return nowhere(left, 1, living(keys[1]), dead)
end

-- Answers those of the users who are somewhere.
-- keys: nodes; args: users
local function online(keys, args)
  local here, found = {}, {}
  for _, node in ipairs(living(keys[1])) do
    for i, is_there in ipairs(redis.call('SMISMEMBER', people(node), unpack(args))) do
      here[i] = here[i] or is_there == 1
    end
  end
  for i, user in ipairs(args) do
    if here[i] then
      found[#found + 1] = user
    end
  end
  return found
end

-- What drains must work in a full Redis too.
local function register(name, callback, flags)
  redis.register_function({
    function_name = name .. '_@VERSION@',
    callback = callback,
    flags = flags,
  })
end

register('append', append, {})
register('counted', counted, { 'no-writes' })
register('prepare', prepare, {})
register('open', open, {})
register('stored', stored, { 'allow-oom' })
register('ack', ack, { 'allow-oom' })
register('claim', claim, { 'allow-oom' })
register('idle', idle, { 'allow-oom' })
register('empty', empty, { 'allow-oom' })
register('beat', beat, { 'allow-oom' })
register('lease', lease, { 'allow-oom' })
register('card', card, { 'no-writes' })
register('fill', fill, {})
register('hold', hold, { 'allow-oom' })
register('let_go', let_go, { 'allow-oom' })
register('begin_mark', begin_mark, { 'allow-oom' })
register('end_mark', end_mark, { 'allow-oom' })
register('mention', mention, { 'allow-oom' })
register('mention_all', mention_all, { 'allow-oom' })
register('begin_all', begin_all, {})
register('alive', alive, { 'allow-oom' })
register('arrive', arrive, {})
register('depart', depart, { 'allow-oom' })
register('bury', bury, { 'allow-oom' })
register('online', online, { 'allow-oom' })
register('tell', tell, { 'allow-oom' })
register('suspect', suspect, { 'allow-oom' })
register('settle', settle, { 'allow-oom' })
