/** Logging in and out, and locking the console. */
import { post, Refused } from './request';

/** A wrong name and a wrong password get the same answer: no ended session, just no. */
class WrongCredentials extends Refused {
  constructor(sentence: string) {
    super(401, sentence);
  }
}

export const logIn = (name: string, password: string): Promise<unknown> =>
  post('/api/v1/login', { name, password }, WrongCredentials);
/** Why this person looks, for every look of the session from now on. */
export const sayReason = (reason: string): Promise<unknown> => post('/api/v1/session/reason', { reason });
export const logOut = (): Promise<unknown> => post('/api/v1/logout', {});
export const changePassword = (old: string, chosen: string): Promise<unknown> =>
  post('/api/v1/password', { old, new: chosen }, WrongCredentials);
export const lockConsole = (): Promise<unknown> => post('/api/v1/console/lock', {});
export const unlockConsole = (password: string): Promise<unknown> =>
  post('/api/v1/console/unlock', { password }, WrongCredentials);
