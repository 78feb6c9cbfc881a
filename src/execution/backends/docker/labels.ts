/** Whose a container is: the id of a backend, new with each start of a gateway. */
export const OWNER_LABEL = 'millicent.owner';

/** What a container with this label stands for, its owner, lives as long as it runs. */
export const LEASE_LABEL = 'millicent.lease';
