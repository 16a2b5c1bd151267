-- ARGV: epoch, position and hash of the last entry, position and hash of the last one afterwards, how long the phase has gone on
-- (or nothing), the number of entries, the entries; then letters and answers in turn.
local h = call('HMGET', ledger, 'epoch', 'position', 'hash')
if h[1] ~= ARGV[1] then return { 'fenced', h[1] } end
if h[2] ~= ARGV[2] or h[3] ~= ARGV[3] then return { 'conflict', head() } end
call('HSET', ledger, 'position', ARGV[4], 'hash', ARGV[5])
if ARGV[6] ~= '' then call('HSET', ledger, 'elapsed_at', ARGV[4], 'elapsed', ARGV[6], 'elapsed_said', text(now())) end
local count = tonumber(ARGV[7])
for i = 1, count do call('HSET', entries, text(ARGV[2] + i), ARGV[7 + i]) end
for i = 8 + count, #ARGV, 2 do
    local to = take(ARGV[i])
    if to then
        call('HSET', answers, to .. padded(ARGV[i]), ARGV[i + 1])
        call('ZADD', answered, 0, to .. padded(ARGV[i]))
    end
end
tell()
return { 'done', head() }
