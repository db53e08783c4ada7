// A first function: greets whoever the event names.

export const handler = async (event, context) => {
  const name = event.name ?? 'world';
  console.log(`greeting ${name}`); // what a function prints is its log
  return {
    greeting: `${process.env.GREETING ?? 'Hello'}, ${name}!`,
    left_ms: context.getRemainingTimeInMillis(),
  };
};
