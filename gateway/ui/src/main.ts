/** Starts the page. */
import './styles/font.css';
import './styles/tokens.css';
import './styles/base.css';
import './styles/forms.css';
import './styles/map.css';
import './styles/table.css';
import { mount } from 'svelte';
import App from './App.svelte';
import { room } from './state/room.svelte';
import { settings } from './state/settings.svelte';

const page = document.getElementById('page');
if (page === null) throw new Error('index.html lost its #page');
settings.apply();
mount(App, { target: page });
room.start();
