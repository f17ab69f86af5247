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

