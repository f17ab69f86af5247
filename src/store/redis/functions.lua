#!lua name=qunliu_@VERSION@

-- What must be atomic in a group's log (dataflow.md, "One append"; epochs.md, "Rules").
-- The text is loaded under a name that carries its digest, so that two versions of the server
-- can run side by side. All keys of a call share one hash tag.
--
-- Keys of a group, in the order of every call that takes them all:
--   s  the stream, ids <epoch>-<seq>; fields m (fixed part, see META), c (C), o (O), b (JSON)
--   h  the head, HEAD
--   o  sender -> own total (O), and the field "all" as proof that nobody is missing
--   d0, d1  memory of client_ids: sender and client_id -> REMEMBERED, and the field "from"
-- Keys of a partition:
--   ann  the highest epoch announced
--   a    groups with events that some consumer has not handled
--
-- HEAD, one text (a hash of the same costs an append 5 us more): position, C, position of the
-- last change of rights, time, stored position, number of the younger memory.
-- META, 73 bytes: kind 1, sender 16, client_id 16, digest 16, time 8, message id 16.
-- REMEMBERED: the last 40 bytes of META, then "<position> <C>" as text.
-- from: "<position> <milliseconds>": the memory holds all above the position, begun at the time.

local S, H, O, D0, D1, ANN, DIRTY = 1, 2, 3, 4, 5, 6, 7

-- A memory is kept for 10 minutes at least, and until all in it is stored.
local MEMORY_MS = 600000
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
-- counted, changes rights, time, META, JSON, group
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
  local sender = string.sub(meta, 2, 17)
  local own = count_own(keys[O], sender, is_counted)
  if not own then
    return { 'closed' }
  end
  local count = is_counted and decimal(tonumber(head.c) + 1) or head.c
  local pos = redis.pcall('XADD', keys[S], 'NOMKSTREAM', args[2] .. '-*',
    'm', meta, 'c', count, 'o', own, 'b', args[10])
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

-- args: history, epoch, start, C, time, stored, keep, expected top or '', group, consumers, then
-- sender and own total for each who ever sent, unless the log keeps its own
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
    head = { mv = below, w = args[6], y = '0' }
    set_own(keys[O], args, 11)
    rebuild_memory(keys, below, now_ms())
  end
  head.pos, head.c, head.at = below, args[4], args[5]
  write_head(keys[H], head)
  if redis.call('XLEN', keys[S]) > 0 then
    redis.call('SADD', keys[DIRTY], args[9])
  end
  return 'yes'
end

-- keys: h; args: position
local function stored(keys, args)
  local head = read_head(keys[1])
  if head and is_below(head.w, args[1]) and not is_below(head.pos, args[1]) then
    head.w = args[1]
    write_head(keys[1], head)
    return 1
  end
  return 0
end

-- Consumers -------------------------------------------------------------------------------

-- Whether every consumer has acknowledged everything in the stream. A stream that is not there
-- holds nothing to handle.
local function is_handled(stream, consumers)
  if redis.call('EXISTS', stream) == 0 then
    return true
  end
  local groups = redis.call('XINFO', 'GROUPS', stream)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  for _, group in ipairs(groups) do
    if field(group, 'pending') > 0 then
      return false
    end
    if last and is_below(field(group, 'last-delivered-id'), last[1]) then
      return false
    end
  end
  return #groups >= consumers
end

-- keys: s, a; args: consumer, number of consumers, group, positions
local function ack(keys, args)
  for i = 4, #args, CHUNK do
    redis.call('XACK', keys[1], args[1], unpack(args, i, math.min(i + CHUNK - 1, #args)))
  end
  if is_handled(keys[1], tonumber(args[2])) then
    redis.call('SREM', keys[2], args[3])
  end
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

-- What drains must work in a full Redis too.
local function register(name, callback, flags)
  redis.register_function({
    function_name = name .. '_@VERSION@',
    callback = callback,
    flags = flags,
  })
end

register('append', append, {})
register('prepare', prepare, {})
register('open', open, {})
register('stored', stored, { 'allow-oom' })
register('ack', ack, { 'allow-oom' })
register('claim', claim, { 'allow-oom' })
register('beat', beat, { 'allow-oom' })
register('lease', lease, { 'allow-oom' })
