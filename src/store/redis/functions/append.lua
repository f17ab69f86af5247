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

