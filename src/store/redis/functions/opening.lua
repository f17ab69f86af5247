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

