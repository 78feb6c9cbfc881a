/** Whose a pod or lease is: the id of a backend, new with each start of a gateway. */
export const OWNER_LABEL = 'millicent.owner';

/** Every jail has it, and the network policy selects by it. */
export const JAIL_LABEL = 'millicent.jail';
