-- Uses each command that the other scripts use, on a key that is gone afterwards: who may not use one is told so before
-- anything is half done.
local failed
local function try(command, key, ...)
    if failed then return end
    local said = redis.pcall(command, key, ...)
    if type(said) == 'table' and said.err then failed = redis.error_reply('NOPERM ' .. command .. ' on ' .. key .. ': ' .. said.err) end
end
local key, other = KEYS[13], KEYS[14]
try('UNLINK', key, other)
try('HSET', key, 'a', 'b')
try('HSETNX', key, 'a', 'b')
try('HGET', key, 'a')
try('HMGET', key, 'a')
try('HSTRLEN', key, 'a')
try('HEXISTS', key, 'a')
try('HLEN', key)
try('EXPIRE', key, 60)
try('RENAME', key, other)
try('PERSIST', other)
try('HDEL', other, 'a')
try('ZADD', key, 0, 'a')
try('ZCARD', key)
try('ZSCORE', key, 'a')
try('ZRANGE', key, 0, -1, 'WITHSCORES')
try('ZREVRANGE', key, 0, 0)
try('ZRANGEBYSCORE', key, '(0', '+inf', 'LIMIT', 0, 1)
try('ZRANGEBYLEX', key, '-', '+', 'LIMIT', 0, 1)
try('ZLEXCOUNT', key, '-', '+')
try('ZREMRANGEBYLEX', key, '[b', '[b')
try('ZREM', key, 'a')
for _, each in ipairs({ ledger, entries, inbox, letters, names, once, of, answers, answered, beats, beaten, parts }) do
    try('EXISTS', each)
end
try('UNLINK', key, other)
return failed or now()
