package tokens

import (
	"container/list"
	"sync"
	"time"
)

const tokensMax = 100_000

// ReplayCache remembers the tokens of one process that were used; of too many the oldest is forgotten first.
type ReplayCache struct {
	mutex sync.Mutex
	used  map[string]struct{}
	order *list.List
}

type usedToken struct {
	id        string
	expiresAt time.Time
}

// NewReplayCache makes an empty cache.
func NewReplayCache() *ReplayCache {
	return &ReplayCache{used: map[string]struct{}{}, order: list.New()}
}

// Take is false when a token with this id came before.
func (c *ReplayCache) Take(id string, expiresAt, now time.Time) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if _, isUsed := c.used[id]; isUsed {
		return false
	}
	for first := c.order.Front(); first != nil; first = c.order.Front() {
		oldest := first.Value.(usedToken)
		if oldest.expiresAt.After(now) && len(c.used) < tokensMax {
			break
		}
		c.order.Remove(first)
		delete(c.used, oldest.id)
	}
	c.used[id] = struct{}{}
	c.order.PushBack(usedToken{id, expiresAt})
	return true
}
