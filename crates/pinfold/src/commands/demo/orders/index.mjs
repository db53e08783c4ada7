export const handler = async (event) => {
  if (Date.now() < (event.opens_at_ms ?? 0)) {
    throw new Error('the warehouse is still closed');
  }
  console.log(`order ${event.order} is on its way`);
  return { order: event.order, shipped: true };
};
