-- ARGV: the header, if there is none yet.
call('HSETNX', ledger, 'header', ARGV[1])
return call('HGET', ledger, 'header')
