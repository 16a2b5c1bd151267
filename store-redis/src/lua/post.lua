-- ARGV: how many letters may wait, how many of one replica; then name (or nothing), sender and letter in turn.
local last = tonumber(call('HGET', ledger, 'letter'))
local total = call('ZCARD', inbox)
local ids, fresh, seen, waiting = { 'posted' }, {}, {}, {}
for i = 3, #ARGV, 3 do
    local name, from = ARGV[i], ARGV[i + 1]
    local id = name ~= '' and (seen[name] or call('HGET', once, name))
    if not id then
        last, total = last + 1, total + 1
        id = text(last)
        local before = waiting[from] or call('ZLEXCOUNT', of, '[' .. from, '[' .. from .. '~')
        if before >= tonumber(ARGV[2]) then return { 'full', text(before), ARGV[2] } end
        if total > tonumber(ARGV[1]) then return { 'full', text(total - 1), ARGV[1] } end
        waiting[from] = before + 1
        fresh[#fresh + 1] = { i, id }
        if name ~= '' then seen[name] = id end
    end
    ids[#ids + 1] = id
end
call('HSET', ledger, 'letter', text(last))
for _, one in ipairs(fresh) do
    local i, id = one[1], one[2]
    call('HSET', letters, id, ARGV[i + 2])
    call('HSET', names, id, ARGV[i] .. ARGV[i + 1])
    call('ZADD', inbox, id, id)
    call('ZADD', of, 0, ARGV[i + 1] .. padded(id))
    if ARGV[i] ~= '' then call('HSET', once, ARGV[i], id) end
end
tell()
return ids
