-- Makes the ledger, if it is not there: the only script without the prelude.
local zeros = string.rep('\0', 32)
if redis.call('HSETNX', KEYS[1], 'schema', ARGV[1]) == 1 then
    redis.call('HSET', KEYS[1], 'epoch', '0', 'position', '0', 'hash', zeros, 'first', '1', 'before', zeros, 'swept', '1', 'letter', '0')
end
return redis.call('HGET', KEYS[1], 'schema')
